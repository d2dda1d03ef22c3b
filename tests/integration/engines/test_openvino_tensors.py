"""ONNX models on OpenVINO, beside the same models on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tests.support.onnx_models import identity, tiny_cnn

from modelry.domain.errors import ModelFailed, NotSupported, TensorMismatch
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.registry import load_runtime

pytest.importorskip("openvino", reason="the extra modelry[openvino] is not installed")


def load(model: onnx.ModelProto | bytes, path: Path, runtime: str = "openvino"):
    raw = model if isinstance(model, bytes) else model.SerializeToString()
    path.write_bytes(raw)
    manifest = {"files": {"model": {"name": "model.onnx"}}}
    return load_runtime(runtime).load(LoadSpec("tensor", runtime, manifest, {"model": path}))


def test_signature_and_answers_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    ours, theirs = (load(tiny_cnn(), tmp_path / "m", name) for name in ("openvino", "onnx"))
    assert ours.signature == theirs.signature
    batch = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    answers = [engine.infer({"x": batch}, StopSignal())["y"] for engine in (ours, theirs)]
    assert np.abs(answers[0] - answers[1]).max() < 1e-4
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("element", "dtype"),
    [
        (TensorProto.FLOAT, "f4"), (TensorProto.DOUBLE, "f8"), (TensorProto.FLOAT16, "f2"),
        (TensorProto.INT8, "i1"), (TensorProto.INT16, "i2"), (TensorProto.INT32, "i4"),
        (TensorProto.INT64, "i8"), (TensorProto.UINT8, "u1"), (TensorProto.UINT32, "u4"),
        (TensorProto.BOOL, "?"),
    ],
)  # fmt: skip
def test_every_type_comes_back_as_it_went_in(element: int, dtype: str, tmp_path: Path) -> None:
    engine = load(identity(element), tmp_path / "m")
    x = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    y = engine.infer({"x": x}, StopSignal())["y"]
    assert y.dtype == x.dtype
    assert np.array_equal(x, y)


def test_wrong_tensors_are_refused_by_name(tmp_path: Path) -> None:
    engine = load(tiny_cnn(), tmp_path / "m")
    for wrong in ({"z": np.zeros((1, 1, 28, 28), "f4")}, {"x": np.zeros((1, 1, 28, 28), "f8")},
                  {"x": np.zeros((1, 1, 27, 28), "f4")}, {}):  # fmt: skip
        with pytest.raises(TensorMismatch):
            engine.infer(wrong, StopSignal())
    assert engine.infer({"x": np.zeros((1, 1, 28, 28), "f4")}, StopSignal())["y"].shape == (1, 10)


def test_answers_stay_when_the_next_run_comes(tmp_path: Path) -> None:
    engine = load(identity(TensorProto.FLOAT), tmp_path / "m")
    first = engine.infer({"x": np.ones((1, 3), "f4")}, StopSignal())["y"]
    engine.infer({"x": np.zeros((1, 3), "f4")}, StopSignal())
    assert first.tolist() == [[1, 1, 1]]


def test_a_late_stop_hurts_nobody(tmp_path: Path) -> None:
    engine = load(tiny_cnn(), tmp_path / "m")
    stop, x = StopSignal(), {"x": np.zeros((1, 1, 28, 28), "f4")}
    engine.infer(x, stop)
    stop.set()
    assert engine.infer(x, StopSignal())["y"].shape == (1, 10)


def test_text_tensors_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="onnx"):
        load(identity(TensorProto.STRING), tmp_path / "m")
    unknown = tiny_cnn()
    unknown.graph.node[0].op_type = "Convolve"
    with pytest.raises(ModelFailed) as caught:
        load(unknown, tmp_path / "m")
    assert "model.onnx" in caught.value.message
    assert str(tmp_path) not in caught.value.message
