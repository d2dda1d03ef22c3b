"""The runtimes' suite, for OpenVINO, where the extra is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tests.support import onnx_models
from tests.support.weights import smollm2_q8_0

from modelry.runtime_api.engine import LoadSpec, SupportsChat, SupportsCompletion
from modelry.runtimes.openvino import OpenVinoRuntime
from modelry.testing.runtime import (
    ChatContract,
    CompletionContract,
    LoadingContract,
    TensorContract,
)

pytest.importorskip("openvino_genai", reason="the extra modelry[openvino] is not installed")


class GivenCnn:
    runtime_class = OpenVinoRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        return onnx_models.spec_for(onnx_models.tiny_cnn(), folder, "openvino", threads=1)


class TestLoading(GivenCnn, LoadingContract):
    pass


class TestCnn(GivenCnn, TensorContract):
    def reference(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = ort.InferenceSession(
            onnx_models.tiny_cnn().SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return {"y": session.run(None, inputs)[0]}


class GivenSmolLm2:
    runtime_class = OpenVinoRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        manifest = {
            "name": "tested",
            "files": {"model": {"name": "model.gguf"}},
            "defaults": {"system": "You are a helpful assistant."},
            "limits": {"context": 512},
        }
        options = {"slots": 2, "threads": 1}
        return LoadSpec("chat", "openvino", manifest, {"model": smollm2_q8_0()}, options)


class TestChat(GivenSmolLm2, ChatContract):
    proved_elsewhere = (SupportsCompletion,)


class TestCompletion(GivenSmolLm2, CompletionContract):
    proved_elsewhere = (SupportsChat,)
