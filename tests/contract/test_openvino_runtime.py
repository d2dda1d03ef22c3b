"""The runtimes' suite, for OpenVINO; skips where the extra is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto
from tests.support import onnx_models
from tests.support.weights import smollm2_q8_0

pytest.importorskip("openvino_genai", reason="the extra modelry[openvino] is not installed")

from modelry.runtime_api.engine import LoadSpec, SupportsChat, SupportsCompletion
from modelry.runtimes.openvino.runtime import OpenVinoRuntime
from modelry.testing.runtime import (
    ChatContract,
    CompletionContract,
    LoadingContract,
    TensorContract,
)


class GivenSmolLm2:
    runtime_class = OpenVinoRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        manifest: dict[str, Any] = {
            "name": "tested",
            "files": {"model": {"name": "model.gguf"}},
            "defaults": {"system": "You are a helpful assistant."},
            "limits": {"context": 512},
        }
        options = {"slots": 2, "threads": 1}
        return LoadSpec("chat", "openvino", manifest, {"model": smollm2_q8_0()}, options)


class TestChatLoading(GivenSmolLm2, LoadingContract):
    pass


class TestChat(GivenSmolLm2, ChatContract):
    proved_elsewhere = (SupportsCompletion,)


class TestCompletion(GivenSmolLm2, CompletionContract):
    proved_elsewhere = (SupportsChat,)


class GivenCnn:
    runtime_class = OpenVinoRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        return onnx_models.spec_for(onnx_models.tiny_cnn(), folder)


class TestTensorLoading(GivenCnn, LoadingContract):
    pass


class TestCnn(GivenCnn, TensorContract):
    def reference(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = ort.InferenceSession(
            onnx_models.tiny_cnn().SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return {"y": session.run(None, inputs)[0]}


class TestWholeNumbers(TensorContract):
    runtime_class = OpenVinoRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        return onnx_models.spec_for(onnx_models.identity(TensorProto.INT64), folder)

    def reference(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": inputs["x"]}
