"""The recipe `keras` with real Keras: what users save, through training, export and back."""

import io
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import onnxruntime as ort
import pytest
from keras import layers
from PIL import Image
from tests.support.keras_models import (
    ANSWERS,
    KERAS_2,
    TENSORFLOW,
    config_of,
    entries_of,
    with_config,
    write,
)

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import (
    Cancelled,
    DataDamaged,
    FileRefused,
    InvalidInput,
    RowsInvalid,
    TrainingDiverged,
)
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.recipes.keras import KerasModel
from modelry.training.recipes.keras import rows as kept_rows
from modelry.training.recipes.keras.archive import read_keras_file
from modelry.training.recipes.keras.building import build
from modelry.training.recipes.keras.parameters import KerasParameters

# Keras turns tensors into arrays in a way that numpy 2 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RECIPE = KerasModel()
RANDOM = np.random.default_rng(5)
COUNT = 96
X = RANDOM.random((COUNT, 8, 8, 1), dtype=np.float32)
Y = (X[:, :4].mean((1, 2, 3)) > X[:, 4:].mean((1, 2, 3))).astype(np.int64) + (X[:, 0, 0, 0] > 0.7)
IMAGE_LIKE = Column("x", ColumnType.TENSOR, shape=(8, 8, 1), dtype="float32")
NUMBER = Column("y", ColumnType.INTEGER, ColumnRole.LABEL)
SCHEMA = Schema((IMAGE_LIKE, NUMBER))
TENSORS = rows_of(SCHEMA, {"train": {"x": X, "y": Y}})


def train(base, folder, data=TENSORS, run=None, **options):
    parameters = RECIPE.parameters(**options)
    RECIPE.check(data.description, parameters)
    run = run or MemoryRun(folder, seed=3, base={"model": base})
    return RECIPE.train(data, parameters, run), run


def saved(model, folder, name="own.keras"):
    path = folder / name
    model.save(path)
    return path


def compiled(model, **how):
    model.compile(
        **({"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
           | how)
    )  # fmt: skip
    return model


def answers(trained, inputs):
    session = ort.InferenceSession(trained.files["model"].read_bytes())
    return session.run(
        None, dict(zip((one.name for one in session.get_inputs()), inputs, strict=True))
    )


@pytest.fixture(scope="module")
def of_tensorflow(tmp_path_factory):
    return train(TENSORFLOW, tmp_path_factory.mktemp("tf"), epochs=3, learning_rate=0.01)


def test_a_file_of_tensorflow_has_its_weights_and_answers(tmp_path):
    model, _ = build(read_keras_file(TENSORFLOW, tmp_path), KerasParameters())
    with np.load(ANSWERS) as expected:
        found = model.predict(expected["x"], verbose=0)
        assert np.abs(found - expected["y"]).max() < 1e-5


def test_a_model_is_where_it_is_wanted_whatever_keras_would_choose(tmp_path, monkeypatch):
    """On a machine with a GPU Keras chooses that, also for a run that is to keep to the CPU."""
    monkeypatch.setattr("keras.src.backend.torch.core.DEFAULT_DEVICE", "meta")
    model, _ = build(read_keras_file(TENSORFLOW, tmp_path), KerasParameters(), "cpu")
    with keras.device("cpu"):
        variables = [*model.variables, *model.optimizer.variables]
        assert {one.value.device.type for one in variables} == {"cpu"}


def test_it_is_trained_and_exported(of_tensorflow):
    trained, run = of_tensorflow
    assert trained.parity.is_met
    assert trained.parity.max_abs <= 1e-4
    assert trained.parity.metric == "accuracy"
    assert trained.manifest == {"task": "tensor", "files": {"model": "model.onnx"}}
    assert run.curves[9] == trained.metrics
    assert run.curves[9]["loss"] < run.curves[3]["loss"]
    assert run.told[-1][3] == "exporting"
    assert b"site-packages" not in trained.files["model"].read_bytes()


def test_the_trained_model_comes_back_as_a_file_of_the_same_keras(of_tensorflow):
    trained, _ = of_tensorflow
    path = trained.kept["model.keras"]
    entries = entries_of(path)
    assert json.loads(entries["metadata.json"])["keras_version"] == "3.0.5"
    assert json.loads(entries["config.json"])["config"] == config_of()["config"]
    model = keras.saving.load_model(path, safe_mode=True)
    assert model.optimizer.iterations == 9
    (exported,) = answers(trained, [X])
    assert np.abs(model.predict(X, verbose=0) - exported).max() <= 1e-4


def test_training_goes_on_where_the_file_stopped(of_tensorflow, tmp_path):
    trained, _ = of_tensorflow
    again, _ = train(trained.kept["model.keras"], tmp_path, epochs=1)
    assert again.weights_digest != trained.weights_digest
    assert keras.saving.load_model(again.kept["model.keras"]).optimizer.iterations == 12


def rich():
    """Random layers, moving averages, momentum: all that has a state."""
    inputs = keras.Input((8, 8, 1))
    hidden = layers.RandomFlip()(inputs)
    hidden = layers.Conv2D(3, 3, kernel_regularizer="l2")(hidden)
    hidden = layers.BatchNormalization()(hidden)
    hidden = layers.GaussianNoise(0.1)(hidden)
    hidden = layers.Dropout(0.3)(layers.Flatten()(hidden))
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 12)
    return compiled(
        keras.Model(inputs, layers.Dense(3, activation="softmax")(hidden)),
        optimizer=keras.optimizers.Nadam(schedule, use_ema=True),
    )


@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_run_that_is_stopped_ends_in_the_same_weights(tmp_path, stop_after):
    base = saved(rich(), tmp_path)
    options = {
        "epochs": 4,
        "batch_size": 36,
        "validation_share": 0.25,
        "class_weights": "balanced",
        "keep": "best",
        "checkpoint_every_s": 0,
    }
    whole, first = train(base, tmp_path / "whole", **options)
    ended = MemoryRun(tmp_path / "ended", seed=3, base={"model": base}, stop_after=stop_after)
    with pytest.raises(Cancelled):
        train(base, None, run=ended, **options)
    going_on = MemoryRun(
        tmp_path / "on", seed=3, base={"model": base}, checkpoint=ended.checkpoint()
    )
    again, _ = train(base, None, run=going_on, **options)
    assert again.weights_digest == whole.weights_digest
    assert again.metrics == whole.metrics
    assert again.files["model"].read_bytes() == whole.files["model"].read_bytes()
    assert {**ended.curves, **going_on.curves} == first.curves


def test_a_checkpoint_of_another_model_is_told(tmp_path, of_tensorflow):
    file = tmp_path / "checkpoint"
    file.write_bytes(b"PK\x03\x04 nothing")
    run = MemoryRun(tmp_path, base={"model": TENSORFLOW}, checkpoint=file)
    with pytest.raises(DataDamaged, match="start the job anew"):
        train(TENSORFLOW, None, run=run)


def test_it_learns_as_plain_keras_does(tmp_path):
    """The same steps as `Model.fit` without shuffling, from the same weights."""
    model = compiled(
        keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"),
                          layers.Flatten(), layers.Dense(3, activation="softmax")])
    )  # fmt: skip
    base = saved(model, tmp_path)
    trained, _ = train(base, tmp_path, epochs=3, batch_size=16, shuffle=False)
    kept = model.fit(X, Y, epochs=3, batch_size=16, shuffle=False, verbose=0)
    assert trained.metrics["loss"] == pytest.approx(kept.history["loss"][-1], rel=1e-5)
    assert trained.metrics["accuracy"] == pytest.approx(kept.history["accuracy"][-1], abs=1e-6)
    (exported,) = answers(trained, [X])
    assert np.abs(model.predict(X, verbose=0) - exported).max() < 1e-4


def test_rows_beyond_memory_are_read_again_part_by_part(tmp_path, monkeypatch):
    """The same steps where the order is given; otherwise each part about once an epoch."""
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    base = saved(compiled(model, loss=loss), tmp_path)
    parts = rows_of(SCHEMA, {"train": {"x": X, "y": Y}}, part_rows=20)
    options = {"epochs": 2, "batch_size": 16, "validation_share": 0.2, "class_weights": "balanced"}
    near, _ = train(base, tmp_path / "near", parts, shuffle=False, **options)
    read = []
    monkeypatch.setattr(kept_rows, "MAX_BYTES", 2 * X[:20].nbytes)
    monkeypatch.setattr(
        parts, "part", lambda *a, _part=parts.part, **o: read.append(a[1]) or _part(*a, **o)
    )
    far, run = train(base, tmp_path / "far", parts, shuffle=False, **options)
    assert far.weights_digest == near.weights_digest
    assert far.metrics == near.metrics
    assert any("read anew in every epoch" in line for line in run.lines)
    assert set(read) == set(range(5))
    read.clear()
    whole, _ = train(base, tmp_path / "whole", parts, checkpoint_every_s=0, **options)
    assert len(read) <= 5 * (1 + 3 * 2)
    given = {"seed": 3, "base": {"model": base}}
    ended = MemoryRun(tmp_path / "ended", stop_after=7, **given)
    with pytest.raises(Cancelled):
        train(base, None, parts, run=ended, checkpoint_every_s=0, **options)
    going_on = MemoryRun(tmp_path / "on", checkpoint=ended.checkpoint(), **given)
    again, _ = train(base, None, parts, run=going_on, checkpoint_every_s=0, **options)
    assert again.weights_digest == whole.weights_digest


def test_training_ends_early_when_nothing_gets_better(tmp_path):
    options = {"epochs": 50, "early_stopping": 2, "monitor": "accuracy", "learning_rate": 1e-9}
    _, run = train(TENSORFLOW, tmp_path, optimizer="sgd", metrics=["accuracy"], **options)
    assert run.lines[-3] == "accuracy was not better for 2 epochs: stopped early"
    assert max(run.curves) == 9
    with pytest.raises(InvalidInput, match="There is no curve 'nonsense' to watch; there are loss"):
        train(TENSORFLOW, tmp_path, early_stopping=1, monitor="nonsense")


def table(**extra):
    n = 64
    values = {
        "age": RANDOM.integers(0, 90, n),
        "height": RANDOM.normal(1.7, 0.1, n),
        "smokes": RANDOM.random(n) > 0.5,
        "risk": RANDOM.normal(size=n),
    }
    schema = Schema(
        (
            Column("age", ColumnType.INTEGER),
            Column("height", ColumnType.NUMBER),
            Column("smokes", ColumnType.BOOLEAN),
            Column("risk", ColumnType.NUMBER, ColumnRole.LABEL),
        )
    )
    return rows_of(schema, {"train": values | extra}), values


def test_columns_of_numbers_become_a_tabular_version(tmp_path):
    data, _ = table()
    model = keras.Sequential([keras.Input((3,)), layers.Normalization(), layers.Dense(1)])
    model.layers[0].adapt(RANDOM.normal(size=(16, 3)))
    base = saved(compiled(model, loss="mse", metrics=["mae"]), tmp_path)
    trained, _ = train(base, tmp_path, data, epochs=2)
    assert trained.manifest["task"] == "tabular"
    assert [one["name"] for one in trained.manifest["pre"][0]["columns"]] == [
        "age", "height", "smokes",
    ]  # fmt: skip
    assert trained.parity.metric == "mean_squared_error"
    assert trained.parity.is_met


def test_several_inputs_and_outputs_are_matched_by_name(tmp_path):
    n = 40
    one, two = keras.Input((4,), name="left"), keras.Input((8,), name="right", dtype="int32")
    words = layers.GlobalAveragePooling1D()(layers.Embedding(10, 3)(two))
    both = layers.Concatenate()([one * 2.0, words])
    model = keras.Model(
        {"left": one, "right": two},
        [layers.Dense(1, name="size")(both), layers.Dense(2, name="kind")(both)],
    )
    model.compile(
        optimizer="rmsprop",
        loss={"size": "mse", "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    schema = Schema(
        (
            Column("right", ColumnType.TENSOR, shape=(8,), dtype="int64"),
            Column("left", ColumnType.TENSOR, shape=(4,), dtype="float32"),
            Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=("a", "b")),
            Column("size", ColumnType.NUMBER, ColumnRole.LABEL),
        )
    )
    values = {
        "right": RANDOM.integers(0, 10, (n, 8)),
        "left": RANDOM.random((n, 4), dtype=np.float32),
        "kind": [("a", "b")[at % 2] for at in range(n)],
        "size": RANDOM.random(n),
    }
    trained, _ = train(
        saved(model, tmp_path), tmp_path, rows_of(schema, {"train": values}), epochs=2
    )
    assert trained.parity.is_met
    assert trained.manifest["task"] == "tensor"
    session = ort.InferenceSession(trained.files["model"].read_bytes())
    assert [one.name for one in session.get_inputs()] == ["left", "right"]
    assert [one.name for one in session.get_outputs()] == ["size", "kind"]
    found = session.run(None, {"left": values["left"], "right": values["right"].astype(np.int32)})
    again = keras.saving.load_model(trained.kept["model.keras"])
    wanted = again.predict({"left": values["left"], "right": values["right"]}, verbose=0)
    assert np.abs(found[0] - wanted[0]).max() < 1e-4
    assert np.abs(found[1] - wanted[1]).max() < 1e-4


def attention(inputs):
    hidden = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden + inputs))


@pytest.mark.parametrize(
    ("inner", "fails"), [(attention, True), (layers.Bidirectional(layers.LSTM(3)), False)]
)
def test_layers_are_exported_that_only_one_of_two_exporters_can_do(tmp_path, inner, fails):
    inputs = keras.Input((6, 5))
    model = keras.Model(inputs, layers.Dense(1)(inner(inputs)))
    compiled(model, loss="mse", metrics=[])
    schema = Schema(
        (
            Column("x", ColumnType.TENSOR, shape=(6, 5), dtype="float32"),
            Column("y", ColumnType.NUMBER, ColumnRole.LABEL),
        )
    )
    values = {"x": RANDOM.random((16, 6, 5), dtype=np.float32), "y": RANDOM.random(16)}
    trained, run = train(saved(model, tmp_path), tmp_path, rows_of(schema, {"train": values}))
    assert trained.parity.is_met
    assert any("recording failed" in line for line in run.lines) is fails


def png(pixels):
    held = io.BytesIO()
    Image.fromarray((pixels[..., 0] * 255).astype(np.uint8)).save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize(("rescaled", "steps"), [(False, [{"scale": "1/255"}]), (True, [])])
def test_image_files_go_through_the_steps_that_will_serve_them(tmp_path, rescaled, steps):
    classes = ("low", "middle", "high")
    schema = Schema(
        (
            Column("picture", ColumnType.IMAGE),
            Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=classes),
        )
    )
    rows = {"picture": [png(one) for one in X], "kind": [classes[one] for one in Y]}
    inner = [layers.Rescaling(1 / 255)] if rescaled else []
    model = keras.Sequential([keras.Input((8, 8, 1)), *inner, layers.Flatten(), layers.Dense(3)])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    base = saved(compiled(model, loss=loss), tmp_path)
    trained, _ = train(base, tmp_path, rows_of(schema, {"train": rows}), epochs=1)
    assert trained.manifest["task"] == "image-classification"
    assert trained.manifest["labels"] == list(classes)
    assert trained.manifest["pre"] == [
        {"decode": "gray"}, {"resize": [8, 8]}, *steps, {"layout": "nhwc"},
    ]  # fmt: skip
    assert trained.manifest["post"][1:] == ["softmax", {"top_k": 3}, "label"]
    assert trained.parity.is_met


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("height", np.nan, "Row 8 of split 'train': column 'height' holds a number that is NaN"),
        ("risk", np.inf, "Row 8 of split 'train': column 'risk' holds a number that is NaN"),
    ],
)
def test_rows_that_are_no_numbers_are_named(tmp_path, column, value, expected):
    _, values = table()
    values[column][7] = value
    data, _ = table(**values)
    model = compiled(keras.Sequential([keras.Input((3,)), layers.Dense(1)]), loss="mse", metrics=[])
    with pytest.raises(RowsInvalid, match=expected):
        train(saved(model, tmp_path), tmp_path, data)


def test_labels_that_the_model_does_not_have_are_named(tmp_path):
    labels = Y.copy()
    labels[40] = 3
    data = rows_of(SCHEMA, {"train": {"x": X, "y": labels}})
    with pytest.raises(RowsInvalid, match=r"Row 41 .* is \[3\], and the model has"):
        train(TENSORFLOW, tmp_path, data)


def test_what_does_not_fit_the_model_is_told(tmp_path):
    data, _ = table()
    with pytest.raises(InvalidInput, match=r"takes \(8, 8, 1\), and the dataset has 3"):
        train(TENSORFLOW, tmp_path, data)
    other = Schema((Column("x", ColumnType.TENSOR, shape=(4, 4), dtype="float32"), NUMBER))
    rows = {"x": np.zeros((4, 4, 4), np.float32), "y": [0, 1, 2, 0]}
    with pytest.raises(InvalidInput, match=r"takes \(8, 8, 1\), and column 'x' holds \(4, 4\)"):
        train(TENSORFLOW, tmp_path, rows_of(other, {"train": rows}))
    with pytest.raises(InvalidInput, match="as the base file 'model'"):
        train(None, None, run=MemoryRun(tmp_path))
    with pytest.raises(InvalidInput, match="is for columns of numbers and one output"):
        train(TENSORFLOW, tmp_path, task="tabular")


def test_a_loss_that_explodes_ends_the_run(tmp_path):
    data, _ = table()
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    base = saved(compiled(model, loss="mse", metrics=[]), tmp_path)
    with pytest.raises(TrainingDiverged, match="learning rate"):
        train(base, tmp_path, data, optimizer="sgd", learning_rate=1e5, epochs=20, batch_size=4)


def test_a_model_without_a_loss_needs_one(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    base = saved(model, tmp_path)
    with pytest.raises(InvalidInput, match="saved without a loss"):
        train(base, tmp_path)
    trained, _ = train(base, tmp_path, loss="SparseCategoricalCrossentropy")
    assert trained.parity.is_met


def test_a_lambda_never_runs(tmp_path):
    mark = tmp_path / "ran"
    inputs = keras.Input((8, 8, 1))
    evil = layers.Lambda(lambda x, mark=str(mark): [Path(mark).touch(), x][1])
    model = compiled(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(evil(inputs)))))
    base = saved(model, tmp_path)
    mark.unlink(missing_ok=True)
    with pytest.raises(FileRefused, match="Lambda layer, which is Python code"):
        train(base, tmp_path)
    assert not mark.exists()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileRefused, match="saved by Keras 2"):
        train(KERAS_2, tmp_path)
    huge = config_of()
    huge["config"]["layers"][-1]["config"]["units"] = 10**9
    with pytest.raises(FileRefused, match="bytes of weights, and the file holds"):
        train(with_config(tmp_path / "huge.keras", huge), tmp_path)
    wrong = config_of()
    wrong["config"]["layers"][1]["config"]["kernel_size"] = [2, 2]
    with pytest.raises(FileRefused, match="do not fit"):
        train(with_config(tmp_path / "wrong.keras", wrong), tmp_path)
    unknown = config_of()
    unknown["config"]["layers"][1]["config"]["evil"] = 1
    with pytest.raises(FileRefused, match="do not fit together"):
        train(with_config(tmp_path / "unknown.keras", unknown), tmp_path)
    fixed = config_of()
    fixed["config"]["layers"][0]["config"]["batch_shape"][0] = 4
    with pytest.raises(FileRefused, match="leave the batch size open"):
        train(with_config(tmp_path / "fixed.keras", fixed), tmp_path)
    entries = entries_of() | {"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)}
    with pytest.raises(FileRefused, match="damaged, or no HDF5"):
        train(write(tmp_path / "damaged.keras", entries), tmp_path)
