"""The runtimes' suite, for llama.cpp with real weights; skips where they cannot be fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tests.support.weights import smollm2_q4_1

from modelry.runtime_api.answer_scores import SupportsAnswerScores
from modelry.runtime_api.engine import LoadSpec, SupportsChat, SupportsCompletion
from modelry.runtimes.llamacpp import LlamaCppRuntime
from modelry.testing.runtime import (
    ChatContract,
    CompletionContract,
    LoadingContract,
    TextEmbeddingContract,
)


class GivenSmolLm2:
    runtime_class = LlamaCppRuntime
    task: ClassVar[str] = "chat"

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        manifest: dict[str, Any] = {
            "name": "tested",
            "files": {"model": {"name": "SmolLM2-135M-Instruct.Q4_1.gguf"}},
            "defaults": {"system": "You are a helpful assistant."},
            "limits": {"context": 512},
        }
        files = {"model": smollm2_q4_1()}
        return LoadSpec(cls.task, "llamacpp", manifest, files, {"slots": 2, "threads": 1})


class TestLoading(GivenSmolLm2, LoadingContract):
    pass


class TestChat(GivenSmolLm2, ChatContract):
    proved_elsewhere = (SupportsCompletion, SupportsAnswerScores)


class TestCompletion(GivenSmolLm2, CompletionContract):
    proved_elsewhere = (SupportsChat, SupportsAnswerScores)


class TestEmbedding(GivenSmolLm2, TextEmbeddingContract):
    task = "text-embedding"
