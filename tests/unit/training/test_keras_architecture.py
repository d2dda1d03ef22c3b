"""What of a config is let through to Keras, and how the rest is told."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.keras_models import config_of

from modelry.domain.errors import FileRefused
from modelry.training.recipes.keras import allowed
from modelry.training.recipes.keras.architecture import check_architecture, check_optimizer

CONFIG = config_of()
KNOWN = (
    allowed.LAYERS
    | allowed.MODELS
    | allowed.INITIALIZERS
    | allowed.REGULARIZERS
    | allowed.CONSTRAINTS
    | allowed.OPTIMIZERS
    | allowed.SCHEDULES
    | allowed.METRICS
    | frozenset().union(*allowed.OPERATIONS.values())
    | {"DTypePolicy", "function", "__keras_tensor__", "__numpy__", "__tensor__", "__slice__"}
    | {"__ellipsis__"}
)


def with_layer(layer):
    config = copy.deepcopy(CONFIG)
    config["config"]["layers"].insert(1, layer)
    return config


def layer(kind, module="keras.layers", **config):
    return {"module": module, "class_name": kind, "config": {"name": "mine", **config}}


def refusal(config):
    with pytest.raises(FileRefused) as caught:
        check_architecture(config)
    return caught.value.message


def test_what_tensorflow_saved_is_taken():
    found = check_architecture(CONFIG)
    assert found.name == "sequential"
    assert found.compiled["loss"] == "sparse_categorical_crossentropy"
    assert found.compiled["optimizer"] == "adam"
    layers = found.model["config"]["layers"]
    assert [one["class_name"] for one in layers] == [
        "InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Dense",
    ]  # fmt: skip
    assert "compile_config" not in found.model


def test_how_steps_run_is_not_for_the_file_to_say():
    config = copy.deepcopy(CONFIG)
    config["compile_config"] |= {"run_eagerly": True, "jit_compile": True}
    found = check_architecture(config).compiled
    assert found["run_eagerly"] is found["jit_compile"] is False


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (layer("Lambda", function="x"), "Lambda layer, which is Python code"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "looks words up"),
        (layer("IntegerLookup", vocabulary="https://example.org/x"), "looks values up"),
        (layer("TextVectorization", vocabulary="/etc/passwd"), "splits text"),
        (layer("TFSMLayer", filepath="/tmp/x"), "SavedModel"),
        (layer("TorchModuleWrapper", module="x"), "torch module"),
        (layer("Hashing"), "no class of Keras that is taken"),
        (layer("MyLayer", "my_package.layers"), "'my_package.layers.MyLayer'"),
        (layer("Dense", "os"), "'os.Dense'"),
        (layer("get_file", "keras.utils"), "'keras.utils.get_file'"),
        (layer("load_model", "keras.models"), "'keras.models.load_model'"),
        (layer("Popen", "subprocess", args="ls"), "'subprocess.Popen'"),
        (layer("Add", "keras.src.ops.numpy.evil"), "'keras.src.ops.numpy.evil.Add'"),
        (layer("Load", "keras.src.ops.numpy"), "'keras.src.ops.numpy.Load'"),
        (layer("Adam", "keras.layers"), "'keras.layers.Adam'"),
        (layer("Dense", activation={"class_name": "__lambda__", "config": {}}), "Python lambda"),
        (layer("Dense", dtype="float16"), "trained in float32"),
        (layer("Dense", dtype={"module": "keras", "class_name": "DTypePolicy",
                               "config": {"name": "mixed_bfloat16"}}), "float32"),
        (layer("Dense", quantization_config={"a": 1}), "quantised"),
        (layer("Dense", lora_rank=4), "quantised or adapted"),
        (layer("InputLayer", sparse=True), "sparse"),
        (layer("Dense", name="x" * 2000), "a text of 2000 characters"),
        ({"module": "keras.layers", "class_name": "Dense"}, "has no config"),
        ({"module": "keras.layers", "class_name": "Dense", "config": None}, "has no config"),
        ({"module": "keras.layers", "class_name": ["Dense"], "config": {}}, "no text"),
        ({"module": None, "class_name": "Dense", "config": {}}, "'Dense'"),
        ({"class_name": "Dense", "config": {}}, "'Dense'"),
        (layer("Dense") | {"spec_name": "x"}, "which Keras never writes"),
        (layer("Dense", inner={"module": "os", "name": "x"}), "stands for a class only"),
        (layer("Dense", inner={"registered_name": "x"}), "stands for a class only"),
        ({"class_name": "__tensor__", "config": {}, "module": "os"}, "never writes"),
        ({"class_name": "__numpy__", "config": 4}, "has no config"),
        ({"class_name": "__typespec__", "config": [], "module": "os"}, "__typespec__"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_wherever_it_stands(thing, expected):
    assert expected in refusal(with_layer(thing))
    nested = layer("TimeDistributed", layer=layer("Bidirectional", layer=thing))
    assert expected in refusal(with_layer(nested))
    told = refusal(with_layer(layer("Dense", kernel_initializer=[{"a": thing}])))
    assert expected in told
    assert "model.config.layers[1]" in told


@pytest.mark.parametrize(
    "function",
    [
        {"module": "os", "class_name": "function", "config": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        {"module": "builtins", "class_name": "function", "config": "my_loss"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": "builtins", "class_name": "function", "config": {"a": 1}},
    ],
)
def test_functions_are_those_of_keras_by_name(function):
    config = copy.deepcopy(CONFIG)
    config["compile_config"]["loss"] = function
    assert "compile_config.loss" in refusal(config)
    assert "no class of Keras" in refusal(with_layer(layer("Dense", activation=function)))


def test_a_known_function_is_named_by_us():
    made = {"module": "keras.activations", "class_name": "function", "config": "relu6",
            "registered_name": "evil>relu6"}  # fmt: skip
    found = check_architecture(with_layer(layer("Dense", activation=made)))
    assert found.model["config"]["layers"][1]["config"]["activation"] == {
        "module": "builtins",
        "class_name": "function",
        "config": "relu6",
        "registered_name": "function",
    }


def test_registered_names_of_the_file_are_dropped():
    made = layer("Dense", units=3) | {"registered_name": "evil>Thing"}
    found = check_architecture(with_layer(made))
    assert found.model["config"]["layers"][1]["registered_name"] is None


def test_an_optimizer_that_keras_on_torch_saved_is_the_plain_one():
    told = {
        "module": "keras.src.backend.torch.optimizers.torch_adam",
        "class_name": "Adam",
        "registered_name": "Adam",
        "config": {"learning_rate": 0.1},
    }
    found = check_optimizer(told, "optimizer")
    assert (found["module"], found["registered_name"]) == ("keras.optimizers", None)


@pytest.mark.parametrize("name", ["MyModel", "Model", None, ["Sequential"]])
def test_a_model_class_of_ones_own_is_refused(name):
    told = refusal(CONFIG | {"class_name": name})
    assert "keras.Model(inputs, outputs)" in told


def test_size_and_depth_are_bounded():
    deep = []
    for _ in range(200):
        deep = [deep]
    assert "levels" in refusal(with_layer(layer("Dense", x=deep)))
    assert "values" in refusal(with_layer(layer("Dense", x=[0] * 500_001)))


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    made = copy.copy(value)
    made[path[0]] = changed(value[path[0]], path[1:], new)
    return made


def classes(value):
    if isinstance(value, dict):
        if "class_name" in value:
            yield value["class_name"]
        for one in value.values():
            yield from classes(one)
    elif isinstance(value, list):
        for one in value:
            yield from classes(one)


THINGS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            layer("Lambda"),
            layer("StringLookup", vocabulary="/etc/passwd"),
            layer("Dense", units=1),
            {"class_name": "function", "module": "os", "config": "system"},
            {"class_name": "__lambda__", "config": {"value": "x"}},
            {"module": "os"},
            {"class_name": "Dense"},
            [],
            {},
        ]
    ),
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(list(places(CONFIG))), THINGS), min_size=1, max_size=3))
def test_whatever_is_changed_nothing_else_gets_through(changes):
    config = CONFIG
    for path, new in changes:
        try:
            config = changed(config, path, new)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    if not isinstance(config, dict):
        return
    try:
        found = check_architecture(config)
    except FileRefused:
        return
    assert set(classes(found.model)) | set(classes(found.compiled)) <= KNOWN
