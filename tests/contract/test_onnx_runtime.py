"""The runtimes' suite, for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto
from tests.support import onnx_models

from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.onnx import OnnxRuntime
from modelry.testing.runtime import LoadingContract, TensorContract


class GivenCnn:
    runtime_class = OnnxRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        return onnx_models.spec_for(onnx_models.tiny_cnn(), folder)


class TestLoading(GivenCnn, LoadingContract):
    pass


class TestCnn(GivenCnn, TensorContract):
    def reference(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = ort.InferenceSession(
            onnx_models.tiny_cnn().SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return {"y": session.run(None, inputs)[0]}


class _Identity(TensorContract):
    runtime_class = OnnxRuntime
    element_type = TensorProto.FLOAT

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        return onnx_models.spec_for(onnx_models.identity(cls.element_type), folder)

    def reference(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": inputs["x"]}


class TestText(_Identity):
    element_type = TensorProto.STRING


class TestWholeNumbers(_Identity):
    element_type = TensorProto.INT64


class TestHalfPrecision(_Identity):
    element_type = TensorProto.FLOAT16


class TestBfloat16(_Identity):
    element_type = TensorProto.BFLOAT16
