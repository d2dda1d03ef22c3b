import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.support.processing import ANY, graph_of, signature_of

from modelry.domain.errors import (
    InternalError,
    InvalidInput,
    ManifestInvalid,
    ModelFailed,
    TensorMismatch,
)
from modelry.domain.signature import NO_TENSORS, Datatype
from modelry.processing import registry
from modelry.processing.declaration import normalize_steps
from modelry.processing.graph import ProcessingGraph
from modelry.processing.kinds import Assets, StepKind
from modelry.processing.values import Context, Stage

IMAGE_IN = (("image", Datatype.FP32, (ANY, 3, 8, 8)),)
IMAGE_STEPS = ["decode", {"resize": [8, 8]}, {"layout": "nchw"}]


def refusal(**arguments) -> ManifestInvalid:
    with pytest.raises(ManifestInvalid) as caught:
        graph_of(**arguments)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "param", "words"),
    [
        ({"post": [{"top_k": 1}, "softmax"]}, "post[1]", ["one tensor", "ranked classes"]),
        ({"post": ["label"]}, "post[0]", ["works on"]),
        ({"post": [{"top_k": 1}, "label"]}, "post[1]", ["no labels"]),
        ({"post": [{"top_k": 1}, "label"], "labels": ["a"]}, "post[1]", ["1 labels", "4 classes"]),
        ({"post": [{"output": "z"}]}, "post[0]", ["no output 'z'", "'y'"]),
        ({"pre": ["tokenize"]}, "pre[0]", ["files.tokenizer"]),
        ({"pre": IMAGE_STEPS}, "pre", ["[n, 3, 8, 8]".replace("n", "'n'"), "[-1, 3]"]),
        ({"pre": IMAGE_STEPS[:2], "inputs": IMAGE_IN}, "pre", ["'layout' (nchw or nhwc)"]),
        ({"pre": [*IMAGE_STEPS, "decode"], "inputs": IMAGE_IN}, "pre[3]", ["pixel arrays"]),
        ({"pre": [{"resize": 8}, "decode"], "inputs": IMAGE_IN}, "pre[0]", ["items as they came"]),
        (
            {"pre": ["decode", {"normalize": {"mean": [1, 2], "std": 1}}], "inputs": IMAGE_IN},
            "pre[1]",
            ["'mean' has 2 values", "3 channels"],
        ),
        (
            {
                "pre": ["decode", {"resize": [8, 8]}, "scale"],
                "inputs": (("image", Datatype.UINT8, (ANY, 8, 8, 3)),),
            },
            "pre",
            ["UINT8", "leave out 'scale'"],
        ),
        (
            {
                "pre": IMAGE_STEPS,
                "inputs": (*IMAGE_IN, ("size", Datatype.INT64, (ANY, 2))),
            },
            "pre",
            ["2 inputs", "'size'"],
        ),
        ({"post": [{"decode_boxes": "yolov8"}]}, "post[0]", ["shape [-1, 4]"]),
        ({"post": ["unletterbox"]}, "post[0]", ["works on"]),
        (
            {
                "post": [{"decode_boxes": "yolov8"}],
                "outputs": (("y", Datatype.FP32, (ANY, 6, 9)),),
            },
            "post[0]",
            ["no step of 'pre' decodes any"],
        ),
        ({"post": ["pool"]}, "post[0]", ["[n, tokens, size]"]),
        (
            {"post": ["softmax"], "outputs": (("y", Datatype.BYTES, (ANY, 2)),)},
            "post[0]",
            ["text (BYTES)"],
        ),
        ({"post": ["classes"]}, "post[0]", ["integers", "'top_k'"]),
        (
            {
                "post": ["softmax"],
                "outputs": [(name, Datatype.FP32, (ANY, 4)) for name in "ab"],
            },
            "post[0]",
            ["2 outputs", "output: NAME", "'a', 'b'"],
        ),
    ],
)
def test_misfits_are_found_before_anything_runs(arguments, param, words):
    error = refusal(**arguments)
    assert error.param == param
    for word in words:
        assert word in error.message


def test_models_without_tensors_have_no_graph():
    with pytest.raises(ManifestInvalid, match="no"):
        ProcessingGraph.build([], [], NO_TENSORS, Assets())


def test_raw_tensors_are_stacked_and_outputs_passed_through():
    graph = graph_of()
    inputs, context = graph.before([{"inputs": {"x": [1, 2, 3]}}, {"inputs": {"x": [4, 5, 6.5]}}])
    assert inputs["x"].dtype == np.float32
    assert inputs["x"].tolist() == [[1, 2, 3], [4, 5, 6.5]]
    outputs = {"y": np.zeros((2, 4), "f4")}
    assert graph.after(outputs, context) is outputs


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (Datatype.FP32, [1, 2]),
        (Datatype.FP32, ["a", "b", "c"]),
        (Datatype.FP32, [1, 2, None]),
        (Datatype.FP32, [[1], [2, 3], 4]),
        (Datatype.FP32, [True, False, True]),
        (Datatype.FP32, [1e300, 0, 0]),
        (Datatype.FP16, [70000.0, 0, 0]),
        (Datatype.INT64, [1.5, 2, 3]),
        (Datatype.UINT8, [256, 0, 0]),
        (Datatype.UINT8, [-1, 0, 0]),
        (Datatype.INT64, [2**70, 0, 0]),
        (Datatype.BOOL, [0, 1, 2]),
        (Datatype.BYTES, [1, 2, 3]),
        (Datatype.BYTES, [None, "a", {}]),
        (Datatype.FP32, "abc"),
        (Datatype.FP32, {"a": 1}),
    ],
)
def test_raw_tensors_of_another_kind_are_refused(datatype, value):
    graph = graph_of(inputs=(("x", datatype, (ANY, 3)),))
    good = {Datatype.BYTES: ["a"] * 3, Datatype.BOOL: [True] * 3}.get(datatype, [1, 2, 3])
    with pytest.raises((TensorMismatch, InvalidInput)) as caught:
        graph.before([{"inputs": {"x": good}}, {"inputs": {"x": value}}])
    assert "Item 2 of 2" in caught.value.message


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], ["list of at least one"]),
        ("abc", ["list of at least one"]),
        ({"inputs": {}}, ["list of at least one"]),
        ([5], ["it is 5"]),
        ([{"inputs": {"x": [1, 2, 3]}, "image": b""}], ["unknown field 'image'", "inputs"]),
        ([{}], ["'inputs' is None"]),
        ([{"inputs": {"z": [1]}}], ["expected an object with the tensors: x"]),
    ],
)
def test_items_that_are_none_are_refused(items, words):
    with pytest.raises(InvalidInput) as caught:
        graph_of().before(items)
    for word in words:
        assert word in caught.value.message


def test_options_override_what_declares_them():
    graph = graph_of(post=[{"top_k": 2}])
    outputs = {"y": np.array([[0.1, 0.4, 0.3, 0.2]], "f4")}
    context = Context(1)
    assert graph.after(outputs, context).indexes == [[1, 2]]
    assert graph.after(outputs, context, {"top_k": 3}).indexes == [[1, 2, 3]]
    assert graph.after(outputs, context, {"top_k": None}).indexes == [[1, 2]]
    assert graph.after(outputs, context, {"top_k": 4, "min_score": 0.25}).indexes == [[1, 2]]
    assert sorted(graph.options) == ["min_score", "top_k"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"top_k": 0}, "'top_k' is 0"),
        ({"top_k": "5"}, "'top_k' is '5'"),
        ({"top_k": 10**400}, "more than 77 digits"),
        ({"min_score": float("nan")}, "'min_score' is nan"),
        ({"max_objects": 3}, "max_objects"),
    ],
)
def test_wrong_options_are_refused_before_the_engine_runs(options, word):
    with pytest.raises(InvalidInput) as caught:
        graph_of(post=[{"top_k": 2}]).before([{"inputs": {"x": [1, 2, 3]}}], options)
    assert caught.value.param == next(iter(options))
    assert word in caught.value.message


def test_outputs_that_do_not_fit_the_items_are_the_models_fault():
    graph = graph_of(post=["softmax"])
    with pytest.raises(ModelFailed, match="3 rows"):
        graph.after({"y": np.zeros((2, 4), "f4")}, Context(3))
    with pytest.raises(ModelFailed, match="no output 'y'"):
        graph.after({}, Context(1))


def test_the_digest_covers_steps_files_and_labels(tmp_path):
    post = [{"top_k": 2}, "label"]
    base = graph_of(post=post, labels="abcd").digest
    assert base.startswith("sha256:")
    assert graph_of(post=[{"step": "top_k", "k": 2}, "label"], labels="abcd").digest == base
    assert graph_of(post=[{"top_k": 3}, "label"], labels="abcd").digest != base
    assert graph_of(post=post, labels="abce").digest != base
    unused = tmp_path / "unused"
    unused.write_text("x")
    assert graph_of(post=post, labels="abcd", files={"readme": unused}).digest == base


def test_bfloat16_goes_in_and_comes_out():
    graph = graph_of(
        post=["softmax"],
        inputs=(("x", Datatype.BF16, (ANY, 3)),),
        outputs=(("y", Datatype.BF16, (ANY, 2)),),
    )
    inputs, context = graph.before([{"inputs": {"x": [1.0, -2.5, 0.1]}}])
    back = (inputs["x"].astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(back, [[1.0, -2.5, 0.1]], rtol=2**-8)
    ones = np.full((1, 2), 0x3F80, np.uint16)
    assert graph.after({"y": ones}, context).tolist() == [[0.5, 0.5]]


def test_one_graph_serves_many_threads():
    graph = graph_of(post=["softmax", {"top_k": 4}])
    together = threading.Barrier(4)

    def call(seed: int) -> bool:
        together.wait()
        scores = np.random.default_rng(seed).random((5, 4)).astype("f4")
        indexes = graph.after({"y": scores}, Context(5)).indexes
        return indexes == np.argsort(-scores, kind="stable").tolist()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(call, range(4)))


def test_other_packages_add_steps(monkeypatch):
    def double(tensor, *, by):
        """Multiplies."""
        return tensor * by

    from modelry.processing.parameters import Parameter, integer

    kind = StepKind(
        "double", "post", double, (Stage.TENSOR,), parameters=(Parameter("by", integer(1, 9), 2),)
    )

    monkeypatch.setattr(registry, "_declared", lambda: {"double": Point(kind)})
    graph = graph_of(post=["double"])
    assert graph.after({"y": np.ones((1, 4))}, Context(1)).tolist() == [[2, 2, 2, 2]]
    assert "double" in registry.step_names("post")
    assert registry.find_step("pre", "double") is None


def test_steps_on_single_items_come_first(monkeypatch):
    def turn(picture):
        """Turns."""
        return picture

    late = StepKind("turn", "pre", turn, (Stage.PIXELS,), each=True)
    monkeypatch.setattr(registry, "_declared", lambda: {"turn": Point(late)})
    with pytest.raises(ManifestInvalid, match="works on single items"):
        graph_of(pre=["decode", "scale", "turn"], inputs=IMAGE_IN)


class Point:
    """An entry point that gives or raises something."""

    name = "odd"

    def __init__(self, found):
        self._found = found

    def load(self):
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.mark.parametrize("found", [ImportError("no module"), "no step"])
def test_packages_that_declare_no_step_are_told(monkeypatch, found):
    monkeypatch.setattr(registry, "_declared", lambda: {"odd": Point(found)})
    with pytest.raises(InternalError, match="Step 'odd' is declared"):
        graph_of(post=["odd"])


def test_normalised_steps_of_a_missing_package_are_refused():
    with pytest.raises(ManifestInvalid, match="not known"):
        ProcessingGraph.build(
            [], [{"step": "gone"}], signature_of([("x", Datatype.FP32, (ANY,))], []), Assets()
        )


def test_contexts_can_be_taken_apart():
    context = Context(3, token_counts=(1, 2, 3), mask=np.eye(3, dtype=bool))
    part = context.take([2, 0])
    assert part.count == 2
    assert part.token_counts == (3, 1)
    assert part.mask.tolist() == [[False, False, True], [True, False, False]]
    assert normalize_steps([], "pre") == []
