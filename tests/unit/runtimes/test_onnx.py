"""The onnx runtime: what ONNX Runtime says, in our words."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from tests.support import onnx_models

from modelry.domain.errors import (
    Cancelled,
    InvalidInput,
    ModelFailed,
    NotSupported,
    TensorMismatch,
)
from modelry.domain.signature import DYNAMIC, Datatype, TensorSpec
from modelry.manifest.inspect import inspect_file
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import NUMPY_TYPES
from modelry.runtimes.onnx import OnnxRuntime
from modelry.runtimes.onnx.engine import OnnxEngine


def load(model: object, folder: Path, **options: object) -> OnnxEngine:
    return OnnxRuntime().load(onnx_models.spec_for(model, folder, **options))


@pytest.fixture
def cnn(tmp_path: Path) -> OnnxEngine:
    return load(onnx_models.tiny_cnn(), tmp_path)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 1, 28, 28), "f4")


def test_answers_are_those_of_onnxruntime(cnn: OnnxEngine, tmp_path: Path) -> None:
    session = ort.InferenceSession(
        onnx_models.tiny_cnn().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for count in (1, 3, 40):
        x = images(count)
        answer = cnn.infer({"x": x}, StopSignal())
        assert list(answer) == ["y"]
        np.testing.assert_allclose(answer["y"], session.run(None, {"x": x})[0], rtol=1e-4)


def test_signature_is_that_of_the_inspection(tmp_path: Path) -> None:
    for model in (onnx_models.tiny_cnn(), onnx_models.identity(TensorProto.INT64, [2, None])):
        spec = onnx_models.spec_for(model, tmp_path)
        engine = OnnxRuntime().load(spec)
        assert engine.signature == inspect_file(spec.files["model"]).signature
    cnn = load(onnx_models.tiny_cnn(), tmp_path).signature
    assert cnn.batched
    assert cnn.inputs == (TensorSpec("x", Datatype.FP32, (DYNAMIC, 1, 28, 28)),)


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched"),
    [
        ({"x": ["n", 2]}, {"y": ["n", 2]}, True),
        ({"x": [None, 2]}, {"y": [None, 2]}, False),
        ({"x": ["n", "n"]}, {"y": ["n", "n"]}, False),
        ({"x": ["n", 2]}, {"y": ["m", 2]}, False),
        ({"x": [1, 2]}, {"y": [1, 2]}, False),
    ],
)
def test_only_one_named_leading_dimension_batches(
    tmp_path: Path, inputs: dict, outputs: dict, batched: bool
) -> None:
    model = onnx_models.model_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        {name: (TensorProto.FLOAT, shape) for name, shape in inputs.items()},
        {name: (TensorProto.FLOAT, shape) for name, shape in outputs.items()},
    )
    assert load(model, tmp_path).signature.batched is batched


ONNX_TYPES = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.UINT16: TensorProto.UINT16,
    Datatype.UINT32: TensorProto.UINT32,
    Datatype.UINT64: TensorProto.UINT64,
    Datatype.INT8: TensorProto.INT8,
    Datatype.INT16: TensorProto.INT16,
    Datatype.INT32: TensorProto.INT32,
    Datatype.INT64: TensorProto.INT64,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.BF16: TensorProto.BFLOAT16,
    Datatype.BYTES: TensorProto.STRING,
}


@pytest.mark.parametrize("datatype", list(Datatype))
def test_every_datatype_goes_in_and_out(tmp_path: Path, datatype: Datatype) -> None:
    engine = load(onnx_models.identity(ONNX_TYPES[datatype]), tmp_path)
    assert engine.signature.inputs[0].datatype is datatype
    if datatype is Datatype.BYTES:
        x = np.array([[b"a", "\u00e9".encode(), b""], [b"x\0y", b"long" * 99, "z"]], object)
        expected = [[b"a", b"\xc3\xa9", b""], [b"x\0y", b"long" * 99, b"z"]]
    else:
        x = np.array([[0, 1, 2], [3, 4, 5]]).astype(NUMPY_TYPES[datatype])
        expected = x.tolist()
    y = engine.infer({"x": x}, StopSignal())["y"]
    assert y.dtype == NUMPY_TYPES[datatype]
    assert y.tolist() == expected


def test_fixed_width_strings_arrive_whole(tmp_path: Path) -> None:
    engine = load(onnx_models.identity(TensorProto.STRING, ["batch"]), tmp_path)
    for x in (np.array([b"ab", b"c"]), np.array(["ab", "c"])):
        assert engine.infer({"x": x}, StopSignal())["y"].tolist() == [b"ab", b"c"]


def test_strings_must_be_utf8(tmp_path: Path) -> None:
    engine = load(onnx_models.identity(TensorProto.STRING, ["batch"]), tmp_path)
    with pytest.raises(TensorMismatch, match="UTF-8"):
        engine.infer({"x": np.array([b"\xff"], object)}, StopSignal())


def test_bf16_beside_strings(tmp_path: Path) -> None:
    def cast(source: int, target: int) -> object:
        return onnx_models.model_of(
            [
                helper.make_node("Cast", ["x"], ["y"], to=target),
                helper.make_node("Identity", ["s"], ["t"]),
            ],
            {"x": (source, ["n"]), "s": (TensorProto.STRING, ["n"])},
            {"y": (target, ["n"]), "t": (TensorProto.STRING, ["n"])},
        )

    engine = load(cast(TensorProto.BFLOAT16, TensorProto.FLOAT), tmp_path)
    inputs = {"x": np.array([0x3F80, 0x4000], np.uint16), "s": np.array([b"p", b"q"], object)}
    answer = engine.infer(inputs, StopSignal())
    assert answer["y"].tolist() == [1.0, 2.0]
    assert answer["t"].tolist() == [b"p", b"q"]
    with pytest.raises(NotSupported, match="BF16"):
        load(cast(TensorProto.FLOAT, TensorProto.BFLOAT16), tmp_path)


def test_nan_and_infinity_pass_through(tmp_path: Path) -> None:
    engine = load(onnx_models.identity(TensorProto.FLOAT), tmp_path)
    x = np.array([[np.nan, np.inf, -np.inf]], "f4")
    np.testing.assert_array_equal(engine.infer({"x": x}, StopSignal())["y"], x)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": np.zeros((1, 1, 28, 28), "f8")}, "FP32"),
        ({"x": np.zeros((1, 1, 28, 28), ">f4")}, ">f4"),
        ({"x": np.zeros((1, 1, 28, 28), object)}, "FP32"),
        ({"x": np.zeros((1, 1, 28, 27), "f4")}, r"\[1, 1, 28, 27\]"),
        ({"x": np.zeros((1, 28, 28), "f4")}, r"\[-1, 1, 28, 28\]"),
        ({"z": np.zeros((1, 1, 28, 28), "f4")}, "expects: x"),
        ({}, "'x' is missing"),
        ({"x": np.zeros((1, 1, 28, 28), "f4"), "z": np.zeros(1)}, "Unknown input tensor 'z'"),
    ],
)
def test_wrong_tensors_are_told_by_name(cnn: OnnxEngine, inputs: dict, told: str) -> None:
    with pytest.raises(TensorMismatch, match=told):
        cnn.infer(inputs, StopSignal())
    assert cnn.infer({"x": images(1)}, StopSignal())["y"].shape == (1, 10)


def test_batches_of_different_size_are_refused(tmp_path: Path) -> None:
    model = onnx_models.model_of(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": (TensorProto.FLOAT, ["n", 2]), "b": (TensorProto.FLOAT, ["n", 2])},
        {"y": (TensorProto.FLOAT, ["n", 2])},
    )
    with pytest.raises(TensorMismatch, match="'a': 2, 'b': 3"):
        load(model, tmp_path).infer(
            {"a": np.zeros((2, 2), "f4"), "b": np.zeros((3, 2), "f4")}, StopSignal()
        )


def test_a_failing_operator_tells_its_reason(tmp_path: Path) -> None:
    model = onnx_models.model_of(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["n"])},
        {"y": (TensorProto.FLOAT, ["n", 2])},
        {"table": np.zeros((4, 2), "f4")},
    )
    engine = load(model, tmp_path)
    with pytest.raises(ModelFailed, match="indices element out of data bounds"):
        engine.infer({"x": np.array([9])}, StopSignal())
    assert engine.infer({"x": np.array([1])}, StopSignal())["y"].shape == (1, 2)


def test_stop_ends_a_run(tmp_path: Path) -> None:
    engine = load(onnx_models.endless(), tmp_path)
    stop = StopSignal()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(Cancelled):
        engine.infer({"x": np.ones(4, "f4")}, stop)
    timer.join()
    with pytest.raises(Cancelled):
        engine.infer({"x": np.ones(4, "f4")}, stop)


def test_memory_of_one_large_batch_comes_back(cnn: OnnxEngine) -> None:
    def resident_mib() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096 >> 20

    cnn.infer({"x": images(1)}, StopSignal())
    before = resident_mib()
    cnn.infer({"x": images(1500)}, StopSignal())
    assert resident_mib() - before < 90  # without giving back it stays at more than 150


@pytest.mark.parametrize("content", [b"\x08\x09", b"nonsense", b"\x80\x04pickle", b""])
def test_damaged_files_fail_with_a_reason_and_without_a_path(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(ModelFailed, match=r"cannot load 'tested\.onnx': .+") as caught:
        load(content, tmp_path)
    assert str(tmp_path) not in caught.value.message


def test_truncated_file(tmp_path: Path) -> None:
    whole = onnx_models.tiny_cnn().SerializeToString()
    with pytest.raises(ModelFailed, match=r"tested\.onnx"):
        load(whole[: len(whole) // 2], tmp_path)


def test_a_missing_file_or_role_is_told(tmp_path: Path) -> None:
    spec = onnx_models.spec_for(b"x", tmp_path)
    spec.files["model"].unlink()
    with pytest.raises(ModelFailed, match="missing on the server"):
        OnnxRuntime().load(spec)
    spec.files.pop("model")
    with pytest.raises(ModelFailed, match="role 'model'"):
        OnnxRuntime().load(spec)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"threads": 0}, "from 1 to 256"),
        ({"threads": True}, "whole number"),
        ({"threads": "2"}, "whole number"),
        ({"optimisation": "fast"}, "extended"),
        ({"arena": 1}, "true or false"),
        ({"treads": 1}, "no engine option 'treads'; it has: arena, optimisation, threads"),
    ],
)
def test_engine_options_are_checked(tmp_path: Path, options: dict, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        load(onnx_models.tiny_cnn(), tmp_path, **options)


def test_engine_options_are_taken(tmp_path: Path) -> None:
    engine = load(onnx_models.tiny_cnn(), tmp_path, threads=2, optimisation="basic", arena=False)
    assert engine.infer({"x": images(2)}, StopSignal())["y"].shape == (2, 10)


def test_a_closed_engine_says_so(cnn: OnnxEngine) -> None:
    cnn.close()
    with pytest.raises(ModelFailed, match="unloaded"):
        cnn.infer({"x": images(1)}, StopSignal())


def test_sequences_are_not_supported(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(NotSupported, match=r"Output 'y' is of ONNX type seq"):
        load(model, tmp_path)
