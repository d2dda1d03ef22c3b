"""Real tables (scikit-learn's own) through reading, trees and networks, export and parity."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.tasks.background_rows import read_background
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.inputs import graph_of
from modelry.training.parity import Exported
from modelry.training.recipes.tabular import Tabular
from modelry.training.recipes.tabular.table import INPUT
from modelry.training.recipes.tabular.training import TASK, VALUE

RECIPE = Tabular()
QUICK = {"trees": 40, "tree_rate": 0.2}


def table(load, label, *, train=0.8, seed=0):
    """A bunch's rows in a seeded order, with a split held out for validation."""
    held = load()
    order = np.random.default_rng(seed).permutation(len(held.data))
    names = [f"c{at}" for at in range(held.data.shape[1])]
    schema = Schema((*(Column(name, ColumnType.NUMBER) for name in names), label))
    end = int(len(order) * train)
    target = held.target.astype(np.float64 if label.type is ColumnType.NUMBER else np.int64)
    splits = {
        split: {
            **{name: held.data[rows, at] for at, name in enumerate(names)},
            label.name: target[rows],
        }
        for split, rows in (("train", order[:end]), ("validation", order[end:]))
    }
    return rows_of(schema, splits)


CLASS = Column("class", ColumnType.INTEGER, ColumnRole.LABEL)
NUMBER = Column("value", ColumnType.NUMBER, ColumnRole.LABEL)


def train(data, folder, *, run=None, **options):
    parameters = RECIPE.parameters(**options)
    RECIPE.check(data.description, parameters)
    run = run or MemoryRun(folder, seed=1)
    return RECIPE.train(data, parameters, run), run


@pytest.fixture(scope="module")
def wine():
    return table(load_wine, CLASS)


@pytest.mark.parametrize(
    "options", [QUICK, {"model": "network", "epochs": 30, "learning_rate": 0.01}]
)
def test_classes_are_learnt(wine, tmp_path, options):
    version, run = train(wine, tmp_path, objective="classification", **options)
    assert version.metrics["accuracy"] > 0.9
    assert version.parity.is_met
    assert version.parity.trained_metric == version.parity.exported_metric
    assert version.manifest["labels"] == ["0", "1", "2"]
    assert "validation_loss" in run.curves[max(run.curves)]


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber"])
def test_numbers_are_learnt_by_trees(tmp_path, loss):
    version, _ = train(table(load_diabetes, NUMBER), tmp_path, loss=loss, depth=3, **QUICK)
    assert version.metrics["r_squared"] > 0.25
    assert version.parity.is_met
    assert version.manifest["post"] == [{"output": VALUE}]


def test_two_classes_have_scores_that_are_probabilities(tmp_path):
    data = table(load_breast_cancer, CLASS)
    version, _ = train(
        data, tmp_path, objective="classification", class_weights="balanced", **QUICK
    )
    assert version.metrics["accuracy"] > 0.9
    assert version.metrics["roc_auc"] > 0.95
    assert version.parity.is_met


def mixed(rows=200, *, with_missing=True):
    """Rows whose class follows from a text and a truth value, and cells that are missing."""
    randomness = np.random.default_rng(0)
    colour = randomness.choice(["red", "green", "blue"], rows).tolist()
    flag = (randomness.random(rows) < 0.5).tolist()
    size = randomness.normal(size=rows).tolist()
    sort = ["odd" if (c == "green") != f else "even" for c, f in zip(colour, flag, strict=True)]
    if with_missing:
        size[::7] = [None] * len(size[::7])
        colour[0] = flag[0] = None
    schema = Schema(
        (
            Column("colour", ColumnType.TEXT, is_nullable=with_missing),
            Column("flag", ColumnType.BOOLEAN, is_nullable=with_missing),
            Column("size", ColumnType.NUMBER, is_nullable=with_missing),
            Column("note", ColumnType.TEXT, ColumnRole.IGNORED),
            Column("sort", ColumnType.TEXT, ColumnRole.LABEL),
        )
    )
    columns = {
        "colour": colour,
        "flag": flag,
        "size": size,
        "note": [str(at) for at in range(rows)],
        "sort": sort,
    }
    return rows_of(schema, {"train": columns})


@pytest.mark.parametrize(
    "options", [QUICK, {"model": "network", "epochs": 40, "learning_rate": 0.02, "batch_size": 16}]
)
def test_a_version_of_text_truth_values_and_missing_cells_serves_what_it_learnt(tmp_path, options):
    version, _ = train(mixed(), tmp_path, **options)
    manifest = version.manifest
    signature = Signature(
        (TensorSpec(INPUT, Datatype.FP32, (DYNAMIC, 3)),),
        (TensorSpec("logits", Datatype.FP32, (DYNAMIC, 2)),),
        batched=True,
    )
    graph = graph_of(TASK, manifest["pre"], manifest["post"], signature, labels=manifest["labels"])
    exported = Exported(version.files["model"])
    exported.check(signature)
    rows = [
        {"colour": "green", "flag": 0, "size": None},
        {"colour": "green", "flag": 1, "size": 0.1},
        {"colour": "red", "flag": 1},
        {"flag": 0, "size": 1.0},
    ]
    inputs, context = graph.before([{"row": row} for row in rows])
    found = graph.after(exported(inputs), context)
    names = [found.labels[indexes[0]] for indexes in found.indexes]
    assert names[:3] == ["odd", "even", "odd"]
    kept = read_background(version.files["background"])
    assert len(kept) == 100
    assert [tuple(one) for one in kept] == [("colour", "flag", "size")] * 100
    graph.before([{"row": one} for one in kept])
    assert {one["colour"] for one in kept} == {"red", "green", "blue"}
    with pytest.raises(InvalidInput, match="'colour' is 'pink'"):
        graph.before([{"row": {"colour": "pink"}}])


@pytest.mark.parametrize(
    "options",
    [
        {"trees": 12, "row_share": 0.7, "column_share": 0.5},
        {"model": "network", "epochs": 2, "layers": [8], "dropout": 0.3},
    ],
)
def test_a_run_goes_on_from_a_checkpoint_to_the_same_weights(wine, tmp_path, options):
    options = {**options, "objective": "classification", "checkpoint_every_s": 0}
    whole, _ = train(wine, tmp_path / "whole", **options)
    ended = MemoryRun(tmp_path / "ended", seed=1, stop_after=5)
    with pytest.raises(Cancelled):
        train(wine, None, run=ended, **options)
    going_on = MemoryRun(tmp_path / "going on", seed=1, checkpoint=ended.checkpoint())
    again, _ = train(wine, None, run=going_on, **options)
    assert again.weights_digest == whole.weights_digest
    assert again.metrics == whole.metrics
    assert again.files["model"].read_bytes() == whole.files["model"].read_bytes()


def test_rows_are_kept_as_many_as_are_wanted_and_the_same_by_the_seed(wine, tmp_path):
    files = []
    for name, most in (("one", 7), ("two", 7), ("none", 0)):
        (tmp_path / name).mkdir()
        version, _ = train(wine, tmp_path / name, objective="classification", trees=1,
                           background_rows=most)  # fmt: skip
        files.append(version.files.get("background"))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(read_background(files[0])) == 7
    assert files[2] is None


def test_boosting_ends_early_and_keeps_the_best_trees(tmp_path):
    data = table(load_diabetes, NUMBER)
    version, run = train(data, tmp_path, trees=400, tree_rate=0.3, early_stopping=10)
    best = min(run.curves, key=lambda at: run.curves[at]["validation_loss"])
    assert max(run.curves) == best + 10
    assert run.curves[best]["validation_loss"] == pytest.approx(
        version.metrics["mean_squared_error"]
    )


def test_rows_that_cannot_be_used_are_named(tmp_path):
    data = mixed(with_missing=False)
    (batch,) = data.batches("train")
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    columns["size"][130] = float("nan")
    with pytest.raises(RowsInvalid, match=r"Row 131 of split 'train'.*'size' is missing"):
        train(rows_of(data.description.schema, {"train": columns}), tmp_path, **QUICK)
    columns["size"][130] = 1e300
    with pytest.raises(RowsInvalid, match=r"Row 131 .*too large for the input 'cells'"):
        train(rows_of(data.description.schema, {"train": columns}), tmp_path, **QUICK)
    wild = table(load_diabetes, NUMBER)
    (batch,) = wild.batches("train")
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    columns["value"][40] = float("inf")
    with pytest.raises(RowsInvalid, match=r"Row 41 of split 'train' has the label inf"):
        train(rows_of(wild.description.schema, {"train": columns}), tmp_path, **QUICK)


def test_a_column_of_free_text_is_no_category(tmp_path):
    rows = 1002
    schema = Schema((Column("note", ColumnType.TEXT), NUMBER))
    columns = {"note": [f"note {at}" for at in range(rows)], "value": np.arange(rows) * 1.0}
    with pytest.raises(RowsInvalid, match="more than 1000 different texts"):
        train(rows_of(schema, {"train": columns}), tmp_path, **QUICK)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "holds integers.*set 'objective'"),
        ({"objective": "regression", "columns": ("c0", "nope")}, "'nope', which rows@1 does not"),
        ({"objective": "regression", "columns": ("c0", "class")}, "'class' is the label"),
        ({"objective": "regression", "columns": ()}, "no column of the role 'feature'"),
        ({"label_column": "c1", "objective": "classification"}, "of type number, which does not"),
    ],
)
def test_parameters_that_do_not_suit_are_refused_before_anything_is_queued(wine, options, told):
    with pytest.raises(InvalidInput, match=told):
        RECIPE.check(wine.description, RECIPE.parameters(**options))
