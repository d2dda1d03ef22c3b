"""A registered network learns other classes: real digits (8 x 8 pixels, from scikit-learn).

The base is learnt on the digits 0 to 4; the version that is made of it knows 5 to 9.
"""

import io

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from tests.support import backbones

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.backbones import backbone
from modelry.training.backbones.cutting import cut, last_layer
from modelry.training.backbones.graph import read_graph
from modelry.training.backbones.operators import OPERATORS
from modelry.training.backbones.trunk import Trunk, TwinTrunk
from modelry.training.backbones.twin import Twin
from modelry.training.parity import Exported
from modelry.training.recipes.image_classification import ImageClassification

RECIPE = ImageClassification()
PIXELS, NUMBERS = load_digits(return_X_y=True)
PIXELS = np.minimum(PIXELS.reshape(-1, 8, 8) * 16, 255).astype(np.uint8)
LOW, HIGH = np.flatnonzero(NUMBERS < 5), np.flatnonzero(NUMBERS >= 5)
SCHEMA = Schema(
    (
        Column("picture", ColumnType.TENSOR, shape=(8, 8), dtype="uint8"),
        Column("digit", ColumnType.INTEGER, ColumnRole.LABEL),
    )
)
WHOLE = {"unfreeze": 100, "head_epochs": 0, "backbone_rate": 1.0, "learning_rate": 0.005}


def columns(places):
    return {"picture": PIXELS[places], "digit": NUMBERS[places]}


def few(each):
    """So many rows of each of the digits 5 to 9."""
    return np.concatenate([HIGH[NUMBERS[HIGH] == digit][:each] for digit in range(5, 10)])


def tune(base, data, folder, *, run=None, version=None, **options):
    parameters = RECIPE.parameters(network="backbone", **options)
    RECIPE.check(data.description, parameters)
    if run is None:
        run = MemoryRun(
            folder, seed=1, base={"model": base}, base_version=version or backbones.version_of()
        )
    return RECIPE.train(data, parameters, run), run


def accuracy(version, places):
    pixels = PIXELS[places].astype(np.float32)[:, None] / 255
    scores = Exported(version.files["model"])({"image": pixels})["logits"]
    labels = np.array([int(one) for one in version.manifest["labels"]])
    return float((labels[scores.argmax(axis=1)] == NUMBERS[places]).mean())


def weights(file):
    held = onnx.load(file).graph.initializer
    return {one.name: numpy_helper.to_array(one) for one in held}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A network that has learnt nothing."""
    return backbones.kept(backbones.network(5), tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def learnt(raw, tmp_path_factory):
    """The same, all of it trained on 0 to 4."""
    data = rows_of(SCHEMA, {"train": columns(LOW[:500]), "validation": columns(LOW[500:600])})
    return tune(raw, data, tmp_path_factory.mktemp("learnt"), epochs=5, **WHOLE)


@pytest.fixture(scope="module")
def base(learnt):
    return learnt[0].files["model"]


@pytest.fixture(scope="module")
def few_rows():
    return rows_of(SCHEMA, {"train": columns(few(8))})


def test_all_of_a_network_can_learn(learnt):
    version, run = learnt
    assert version.metrics["accuracy"] > 0.95
    assert version.parity.is_met
    assert version.parity.rows == 100
    assert version.parity.trained_metric == version.metrics["accuracy"]
    assert any("the last 3 and the new last layer learn" in line for line in run.lines)
    onnx.checker.check_model(onnx.load(version.files["model"]), full_check=True)


def test_the_version_has_the_steps_of_the_base(learnt):
    version, _ = learnt
    manifest = version.manifest
    assert manifest["pre"] == backbones.version_of().manifest["pre"]
    assert manifest["labels"] == ["0", "1", "2", "3", "4"]
    assert manifest["task"] == "image-classification"
    assert manifest["files"] == {"model": "model.onnx"}


def test_other_classes_are_learnt_of_a_few_rows(base, raw, few_rows, tmp_path):
    """And better than on a network that has seen nothing: what it knows is of use."""
    options = {"epochs": 30, "validation_share": 0.0, "learning_rate": 0.003}
    version, run = tune(base, few_rows, tmp_path / "known", **options)
    other, _ = tune(raw, few_rows, tmp_path / "raw", **options)
    unseen = np.setdiff1d(HIGH, few(8))
    assert accuracy(version, unseen) > 0.65
    assert accuracy(version, unseen) > accuracy(other, unseen) + 0.05
    assert any("the new last layer alone learns" in line for line in run.lines)


def test_what_is_not_unfrozen_stays_to_the_bit(base, few_rows, tmp_path):
    before = weights(base)
    inner = ["stem", "scale", "a1", "a2", "b1", "b2", "short", "mean"]
    head, _ = tune(base, few_rows, tmp_path / "head", epochs=2)
    after = weights(head.files["model"])
    assert all(np.array_equal(before[name], after[name]) for name in inner)
    options = {"epochs": 3, "unfreeze": 1, "head_epochs": 1, "keep": "last"}
    last, _ = tune(base, few_rows, tmp_path / "last", **options)
    after = weights(last.files["model"])
    changed = {name for name in inner if not np.array_equal(before[name], after[name])}
    assert changed == {"b1", "b2", "short"}
    assert last.parity.is_met
    assert head.weights_digest != last.weights_digest


def test_blocks_wait_for_the_new_layer(base, few_rows, tmp_path):
    """With as many steps of the head alone as there are, nothing before it has moved."""
    options = {"epochs": 2, "unfreeze": 1, "validation_share": 0.0, "keep": "last"}
    run = MemoryRun(
        tmp_path, seed=1, base={"model": base}, base_version=backbones.version_of(), stop_after=1
    )
    with pytest.raises(Cancelled):
        tune(base, few_rows, None, run=run, head_epochs=1, checkpoint_every_s=0, **options)
    held = torch.load(run.checkpoint(), map_location="cpu", weights_only=True)
    assert held["step"] == 1
    graph = read_graph(base)
    first = {name: one for name, one in held["model"].items() if name.startswith("tail.")}
    assert first
    known = {one.tobytes() for one in graph.weights.values()}
    assert all(one.numpy().tobytes() in known for one in first.values())
    assert bool(held["model"]["dense.weight"].any())


def test_it_goes_on_from_a_checkpoint_to_the_same_weights(base, few_rows, tmp_path):
    options = {
        "epochs": 2,
        "batch_size": 8,
        "unfreeze": 1,
        "head_epochs": 1,
        "dropout": 0.2,
        "augment": ["shift", "brighten"],
        "checkpoint_every_s": 0,
    }
    given = {"base": {"model": base}, "base_version": backbones.version_of()}
    whole, _ = tune(base, few_rows, tmp_path / "whole", **options)
    ended = MemoryRun(tmp_path / "ended", seed=1, stop_after=7, **given)
    with pytest.raises(Cancelled):
        tune(base, few_rows, None, run=ended, **options)
    going_on = MemoryRun(tmp_path / "on", seed=1, checkpoint=ended.checkpoint(), **given)
    again, _ = tune(base, few_rows, None, run=going_on, **options)
    assert again.weights_digest == whole.weights_digest
    assert again.files["model"].read_bytes() == whole.files["model"].read_bytes()


def test_features_beyond_the_memory_limit_are_computed_for_every_batch(base, tmp_path):
    data = rows_of(SCHEMA, {"train": columns(HIGH[:300])})
    options = {"epochs": 1, "unfreeze": 1, "head_epochs": 0}
    kept, _ = tune(base, data, tmp_path / "kept", **options)
    anew, run = tune(base, data, tmp_path / "anew", memory_mb=1, **options)
    assert any("processed anew" in line for line in run.lines)
    assert anew.weights_digest == kept.weights_digest


def test_a_version_that_was_tuned_can_be_tuned_again(base, few_rows, tmp_path):
    once, _ = tune(base, few_rows, tmp_path / "once", epochs=1, unfreeze=1, head_epochs=0)
    data = rows_of(SCHEMA, {"train": columns(LOW[:60])})
    twice, _ = tune(once.files["model"], data, tmp_path / "twice", epochs=8, learning_rate=0.02)
    assert twice.parity.is_met
    assert twice.manifest["labels"] == ["0", "1", "2", "3", "4"]
    assert accuracy(twice, LOW[60:200]) > 0.8


def test_images_with_channels_last_and_features_as_maps(base, few_rows, tmp_path):
    """As TensorFlow's exporters write them; the output is the features, with places."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["made"], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["made"], ["logits"]),
    ]
    kernel = np.random.default_rng(0).normal(size=(6, 1, 3, 3)).astype("f4")
    model = backbones.model_of(nodes, {"kernel": kernel}, ["n", 8, 8, 1], None, "logits")
    file = backbones.kept(model, tmp_path / "maps")
    version = backbones.version_of([*backbones.PRE[:3], {"layout": "nhwc"}])
    options = {"epochs": 1, "augment": ["shift"], "features": "logits"}
    for unfreeze, epochs in ((0, 2), (5, 0)):
        made, _ = tune(
            file,
            few_rows,
            tmp_path / f"tuned{unfreeze}",
            version=version,
            unfreeze=unfreeze,
            head_epochs=epochs,
            **options,
        )
        assert made.parity.is_met
        exported = Exported(made.files["model"])
        assert exported.outputs == ["logits"]
        assert exported({"image": np.zeros((3, 8, 8, 1), "f4")})["logits"].shape == (3, 5)


def test_operators_that_cannot_learn_stay(few_rows, tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["made"]),
        helper.make_node("Sinh", ["made"], ["odd"]),
        helper.make_node("Conv", ["odd", "second"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "out"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["scores"]),
    ]
    draw = np.random.default_rng(0)
    held = {
        "kernel": draw.normal(size=(4, 1, 3, 3)).astype("f4"),
        "second": draw.normal(size=(6, 4, 3, 3)).astype("f4") / 10,
        "out": draw.normal(size=(6, 5)).astype("f4"),
        "bias": np.zeros(5, "f4"),
    }
    file = backbones.kept(
        backbones.model_of(nodes, held, ["n", 1, 8, 8], ["n", 5]), tmp_path / "odd"
    )
    made, _ = tune(file, few_rows, tmp_path / "one", epochs=1, unfreeze=1, head_epochs=0)
    assert made.parity.is_met
    with pytest.raises(InvalidInput, match=r"'Sinh' is not known .*'unfreeze'; with 0"):
        tune(file, few_rows, tmp_path / "all", epochs=1, unfreeze=2, head_epochs=0)


def test_a_number_of_images_that_was_fixed_is_opened_if_it_can_be(raw, few_rows, tmp_path):
    fixed = onnx.load(raw)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    made, _ = tune(backbones.kept(fixed, tmp_path / "fixed"), few_rows, tmp_path / "a", epochs=1)
    assert made.parity.is_met
    for node in fixed.graph.node:
        if node.op_type == "Reshape":
            node.input[1] = "one"
    fixed.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "one"))
    with pytest.raises(InvalidInput, match="Was it saved for a fixed number"):
        tune(backbones.kept(fixed, tmp_path / "built in"), few_rows, tmp_path / "b", epochs=1)


def test_what_is_no_such_network_is_refused(raw, few_rows, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(InvalidInput, match="no ONNX model"):
        tune(broken, few_rows, tmp_path / "a")
    with pytest.raises(InvalidInput, match="no tensor 'none'; its last ones are"):
        tune(raw, few_rows, tmp_path / "b", features="none")
    two = onnx.load(raw)
    two.graph.input.append(helper.make_tensor_value_info("more", 1, ["n"]))
    with pytest.raises(InvalidInput, match="the inputs image, more; expected one"):
        tune(backbones.kept(two, tmp_path / "two"), few_rows, tmp_path / "c")
    old = onnx.load(raw)
    old.opset_import[0].version = 6
    with pytest.raises(InvalidInput, match="version 6 of ONNX's operators"):
        tune(backbones.kept(old, tmp_path / "old"), few_rows, tmp_path / "d")
    elsewhere = onnx.load(raw)
    elsewhere.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(InvalidInput, match="weights lie in another file"):
        tune(backbones.kept(elsewhere, tmp_path / "elsewhere"), few_rows, tmp_path / "e")


def test_cuts_lie_between_layers_and_around_residual_blocks(raw):
    graph = read_graph(raw)
    assert last_layer(graph, "scores") == "features"
    found = [cut(graph, "features", count) for count in range(5)]
    assert [one.boundary for one in found] == ["features", "block1", "block0", "image", "image"]
    assert [one.blocks for one in found] == [0, 1, 2, 3, 3]
    assert set(found[1].learnt) == {"b1", "b2", "short"}
    assert set(found[3].learnt) == {
        "stem", "scale", "shift", "a1", "a2", "b1", "b2", "short"
    }  # fmt: skip
    assert found[1].outside == ("image",)


def test_a_layer_that_is_not_seen_to_be_the_last_is_asked_for(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["made"]),
        helper.make_node("Flatten", ["made"], ["flat"]),
        helper.make_node("TopK", ["flat", "k"], ["scores", "places"]),
    ]
    held = {"kernel": np.ones((1, 1, 3, 3), "f4"), "k": np.array([3])}
    model = backbones.model_of(nodes, held, ["n", 1, 8, 8], ["n", 3])
    graph = read_graph(backbones.kept(model, tmp_path))
    with pytest.raises(InvalidInput, match="'features'"):
        last_layer(graph, "scores")


def test_the_part_that_stays_is_the_same_in_torch(raw):
    """What a GPU computes it with."""
    graph = read_graph(raw)
    pixels = PIXELS[:40].astype(np.float32)[:, None] / 255
    twin = TwinTrunk(Twin(graph, graph.needed(["block2"]), "image", "block2"), torch.device("cpu"))
    np.testing.assert_allclose(twin(pixels), Trunk(graph, ["block2"])(pixels), atol=1e-5)


@pytest.mark.parametrize("unfrozen", [0, 1, 2])
def test_what_stays_is_computed_alike_for_a_gpu(raw, unfrozen, monkeypatch):
    """On a CPU here, where there may be no GPU; also where the new last layer alone learns."""
    cpu = torch.device("cpu")
    monkeypatch.setattr(backbone, "TwinTrunk", lambda twin, device: TwinTrunk(twin, cpu))
    graph = read_graph(raw)
    pixels = PIXELS[:40].astype(np.float32)[:, None] / 255
    whole = backbone.tried(graph, cut(graph, "features", unfrozen), pixels[:2])
    stays = whole.trunk(torch.device("cuda"))
    assert isinstance(stays, TwinTrunk)
    np.testing.assert_allclose(stays(pixels), Trunk(graph, [whole.cut.boundary])(pixels), atol=1e-5)


def _c(*values):
    return np.array(values)


X4, X3, X2 = (2, 3, 7, 9), (2, 5, 6), (2, 6)
CASES = [
    ("Conv", X4, {"w": (4, 3, 3, 3), "b": (4,)}, {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", X4, {"w": (6, 1, 3, 3)}, {"group": 3, "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", X4, {"w": (4, 3, 2, 2)}, {"dilations": [2, 2], "auto_pad": "VALID"}),
    ("Conv", X4, {"w": (4, 3, 2, 2)}, {"dilations": [2, 2], "pads": [0, 1, 1, 0]}),
    ("Conv", (2, 7, 5, 5), {"w": (4, 7, 3, 3)}, {"pads": [0, 1, 1, 0]}),
    ("Conv", X3, {"w": (4, 5, 3)}, {"pads": [1, 1]}),
    ("MaxPool", X4, {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", X4, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", X4, {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", X4, {}, {"kernel_shape": [3, 2], "pads": [0, 1, 1, 0], "count_include_pad": 1}),
    ("AveragePool", X4, {}, {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("GlobalAveragePool", X4, {}, {}),
    ("GlobalMaxPool", X4, {}, {}),
    ("BatchNormalization", X4, {"s": (3,), "b": (3,), "m": (3,), "v": (3,)}, {"epsilon": 1e-3}),
    ("InstanceNormalization", X4, {"s": (3,), "b": (3,)}, {}),
    ("LayerNormalization", X3, {"s": (6,), "b": (6,)}, {}),
    ("LayerNormalization", X3, {"s": (5, 6)}, {"axis": 1}),
    ("Gemm", X2, {"w": (4, 6), "b": (4,)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("MatMul", X3, {"w": (6, 4)}, {}),
    ("Add", X4, {"b": (3, 1, 1)}, {}),
    ("Sub", X4, {"b": (9,)}, {}),
    ("Mul", X4, {"b": (1, 3, 1, 1)}, {}),
    ("Div", X4, {"v": (9,)}, {}),
    ("Pow", X4, {"two": _c(2.0).astype("f4")}, {}),
    ("Max", X4, {"a": (9,), "b": (1,)}, {}),
    ("Min", X4, {"a": (9,)}, {}),
    ("PRelu", X4, {"a": (3, 1, 1)}, {}),
    ("Clip", X4, {"lo": np.float32(-0.5), "hi": np.float32(0.5)}, {}),
    ("Clip", X4, {"lo": np.float32(0.5), "hi": np.float32(-0.5)}, {}),
    ("LeakyRelu", X4, {}, {"alpha": 0.2}),
    ("Elu", X4, {}, {"alpha": 0.7}),
    ("HardSigmoid", X4, {}, {"alpha": 0.3, "beta": 0.4}),
    ("Softmax", X4, {}, {"axis": 1}),
    ("LogSoftmax", X3, {}, {}),
    ("ReduceMean", X4, {}, {"axes": [2, 3], "keepdims": 0}),
    ("ReduceMax", X4, {}, {"axes": [1]}),
    ("ReduceSum", X4, {"axes": _c(-1, 1)}, {}),
    ("Flatten", X4, {}, {"axis": -2}),
    ("Reshape", X4, {"shape": _c(0, -1, 3)}, {}),
    ("Transpose", X3, {}, {"perm": [0, 2, 1]}),
    ("Squeeze", (2, 1, 3, 1), {"axes": _c(-1, 1)}, {}),
    ("Unsqueeze", X2, {"axes": _c(0, -1)}, {}),
    ("Concat", X2, {"b": (3, 6)}, {"axis": 0}),
    ("Slice", X4, {"s": _c(1, 0), "e": _c(-1, 9), "a": _c(2, 3), "t": _c(1, 2)}, {}),
    ("Gather", X3, {"i": _c(0, -1)}, {"axis": 1}),
    ("Gather", X3, {"i": np.array(0)}, {"axis": 1}),
    ("Pad", X4, {"p": _c(0, 0, 1, 2, 0, 0, 0, 1), "v": np.float32(0.5)}, {}),
    ("Expand", (2, 1, 3), {"shape": _c(4, 1)}, {}),
    ("CumSum", X4, {"axis": np.array(2)}, {"exclusive": 1}),
    ("Einsum", X3, {"w": (6, 4)}, {"equation": "abc,cd->abd"}),
    ("GatherElements", X2, {"i": _c(0, -1).reshape(1, 2)}, {"axis": 1}),
    ("GatherND", X3, {"i": _c(0, 1, 1, -1).reshape(2, 2)}, {}),
    ("Mod", X4, {"d": np.float32(0.7)}, {"fmod": 1}),
    ("ReduceL2", X4, {}, {"axes": [1], "keepdims": 0}),
    ("ReduceMin", X4, {}, {"axes": [1]}),
    ("ReduceSumSquare", X4, {}, {"axes": [2, 3]}),
    ("Tile", X3, {"times": _c(1, 2, 1)}, {}),
    ("Trilu", X3, {"k": np.array(1)}, {"upper": 0}),
    *((name, X4, {}, {}) for name in (
        "Abs", "Ceil", "Cos", "Dropout", "Erf", "Exp", "Floor", "HardSwish", "Identity", "Mish",
        "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
        "Softsign", "Tanh",
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "takes", "more", "attributes"),
    CASES,
    ids=[f"{one[0]}{at}" for at, one in enumerate(CASES)],
)
def test_operators_are_those_of_onnx(op, takes, more, attributes, tmp_path):
    """The same numbers as ONNX Runtime's, and gradients of the weights."""
    draw = np.random.default_rng(0)
    held = {
        name: np.abs(draw.normal(size=one)).astype("f4") + 0.1 if isinstance(one, tuple) else one
        for name, one in more.items()
    }
    opset = 18 if op == "Mish" else 17
    node = helper.make_node(op, ["values", *held], ["scores"], **attributes)
    shaped = helper.make_node("Reshape", ["image", "to"], ["values"])
    held["to"] = np.array(takes)
    model = backbones.model_of([shaped, node], held, ["n", "c", "h", "w"], None, opset=opset)
    graph = read_graph(backbones.kept(model, tmp_path))
    values = draw.normal(size=takes).astype("f4")
    image = values.reshape(-1, 1, 1, 1)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"image": image})
    learnt = [name for name, one in more.items() if isinstance(one, tuple)]
    learnt = [name for name in learnt if not (op == "BatchNormalization" and name in "mv")]
    twin = Twin(graph, range(2), "image", "scores", learnt=learnt)
    made = twin(torch.from_numpy(image))
    np.testing.assert_allclose(made.detach().numpy(), wanted, rtol=1e-4, atol=1e-5)
    if learnt:
        made.sum().backward()
        assert all(one.grad is not None for one in twin.parameters())


def test_all_operators_are_tried():
    tried = {one[0] for one in CASES}
    in_networks = {"Shape", "Split", "Where", "Equal", "Cast", "ConstantOfShape", "Sum", "Gelu"}
    plain = {"Log", "Sqrt"}
    assert set(OPERATORS) == tried | in_networks | plain | CHOOSING


CHOOSING = {
    "And", "ArgMax", "ArgMin", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual",
    "Not", "Or", "Range", "Size", "Xor",
}  # fmt: skip


def test_operators_that_compare_and_count(tmp_path):
    """What masks and places are worked out with, each as a number in the sum."""
    made = [
        ("Greater", ["values", "half"]),
        ("GreaterOrEqual", ["values", "half"]),
        ("Less", ["values", "half"]),
        ("LessOrEqual", ["values", "half"]),
        ("IsNaN", ["values"]),
        ("IsInf", ["values"]),
        ("Not", ["Greater"]),
        ("And", ["Greater", "Not"]),
        ("Or", ["Greater", "IsNaN"]),
        ("Xor", ["Less", "IsInf"]),
        ("ArgMax", ["values"]),
        ("ArgMin", ["values"]),
        ("Size", ["values"]),
        ("Range", ["zero", "six", "two"]),
    ]
    nodes = [helper.make_node("Reshape", ["image", "rows"], ["values"])]
    for op, inputs in made:
        options = {"axis": 1} if op.startswith("Arg") else {}
        nodes.append(helper.make_node(op, inputs, [op], **options))
        nodes.append(helper.make_node("Cast", [op], [f"{op}.number"], to=onnx.TensorProto.FLOAT))
    nodes.append(helper.make_node("Sum", [f"{op}.number" for op, _ in made], ["scores"]))
    held = {
        "rows": np.array([-1, 3]),
        "half": np.float32(0.5),
        "zero": np.array(0),
        "six": np.array(6),
        "two": np.array(2),
    }
    model = backbones.model_of(nodes, held, ["n", "c", "h", "w"], None)
    values = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    values[0, 0], values[1, 1], values[2, 2] = 0.5, np.nan, np.inf
    image = values.reshape(-1, 1, 1, 1)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"image": image})
    graph = read_graph(backbones.kept(model, tmp_path))
    found = Twin(graph, range(len(nodes)), "image", "scores")(torch.from_numpy(image))
    np.testing.assert_allclose(found.numpy()[[0, 2, 3]], wanted[[0, 2, 3]])


def test_operators_that_attention_is_made_of(tmp_path):
    """Sizes worked out, split, chosen, filled and compared, as exporters of transformers do."""
    nodes = [
        helper.make_node("Reshape", ["image", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["all"]),
        helper.make_node("Split", ["all", "sizes"], ["q", "k", "v"], axis=2),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["raw"]),
        helper.make_node("Shape", ["raw"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Cast", ["zeros"], ["none"], to=onnx.TensorProto.BOOL),
        helper.make_node("Equal", ["raw", "zeros"], ["is_zero"]),
        helper.make_node("Where", ["none", "zeros", "raw"], ["masked"]),
        helper.make_node("Abs", ["masked"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["root"]),
        helper.make_node("Add", ["root", "one"], ["over"]),
        helper.make_node("Log", ["over"], ["log"]),
        helper.make_node("Softmax", ["log"], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "v"], ["mixed"]),
        helper.make_node("Gelu", ["mixed"], ["bent"]),
        helper.make_node("Sum", ["bent", "v", "v"], ["scores"]),
    ]
    draw = np.random.default_rng(0)
    held = {
        "w": draw.normal(size=(6, 12)).astype("f4"),
        "rows": np.array([0, 5, 6]),
        "sizes": np.array([4, 4, 4]),
        "one": np.float32(1),
    }
    model = backbones.model_of(nodes, held, ["n", 5, 2, 3], None, opset=20)
    graph = read_graph(backbones.kept(model, tmp_path))
    image = draw.normal(size=(3, 5, 2, 3)).astype("f4")
    twin = Twin(graph, range(len(nodes)), "image", "scores", learnt=["w"])
    made = twin(torch.from_numpy(image))
    np.testing.assert_allclose(
        made.detach().numpy(), Trunk(graph, ["scores"])(image), rtol=1e-4, atol=1e-5
    )
    made.sum().backward()
    assert bool(torch.isfinite(next(twin.parameters()).grad).all())


def test_rows_that_the_base_cannot_see_are_named(raw, tmp_path):
    held = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(held, "PNG")
    schema = Schema((Column("picture", ColumnType.IMAGE), SCHEMA.columns[1]))
    good = held.getvalue()
    data = rows_of(schema, {"train": {"picture": [good, good[:30], good], "digit": [1, 2, 1]}})
    with pytest.raises(InvalidInput, match="Row 2 of split 'train' cannot be used"):
        tune(raw, data, tmp_path, epochs=1)
