"""Real lines of code and of prose (from scikit-learn's own files) that a network tells apart."""

from pathlib import Path

import numpy as np
import pytest
import sklearn

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.inputs import graph_of
from modelry.training.parity import Exported
from modelry.training.recipes.text_classification import TextClassification
from modelry.training.recipes.text_classification.training import IDS, MASK, TASK

RECIPE = TextClassification()
NAMES = ("code", "prose")
SCHEMA = Schema(
    (
        Column("line", ColumnType.TEXT),
        Column("kind", ColumnType.TEXT, ColumnRole.LABEL, classes=NAMES),
    )
)
HERE = Path(sklearn.__file__).parent


def lines_of(paths, count):
    lines = [line.strip() for path in sorted(paths) for line in path.read_text().splitlines()]
    return [line for line in dict.fromkeys(lines) if len(line) > 30][:count]


def rows(count, first=0):
    code = lines_of((HERE / "linear_model").glob("_*.py"), 1000)
    prose = lines_of((HERE / "datasets" / "descr").glob("*.rst"), 1000)
    texts = [line for pair in zip(code, prose, strict=False) for line in pair]
    kinds = list(NAMES) * (len(texts) // 2)
    return {"line": texts[first : first + count], "kind": kinds[first : first + count]}


def train(data, folder, *, run=None, **options):
    parameters = RECIPE.parameters(**{"vocabulary_size": 600, "pair_buckets": 1024, **options})
    RECIPE.check(data.description, parameters)
    run = run or MemoryRun(folder, seed=1)
    return RECIPE.train(data, parameters, run), run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    data = rows_of(SCHEMA, {"train": rows(480), "validation": rows(100, 480)})
    folder = tmp_path_factory.mktemp("bag")
    return train(data, folder, vector_size=16, epochs=6, learning_rate=0.02)


def test_a_bag_learns_to_tell_code_from_prose(trained):
    version, run = trained
    assert version.metrics["accuracy"] > 0.75
    assert version.metrics["roc_auc"] > 0.85
    assert {phase for *_, phase in run.told} >= {"learning subwords", "reading train"}


def test_the_exported_model_answers_as_the_trained_one(trained):
    version, _ = trained
    assert version.parity.is_met
    assert version.parity.rows == 100
    assert version.parity.trained_metric == version.parity.exported_metric


def test_the_version_serves_what_it_learnt(trained):
    """The files and the steps of the manifest, as a server would use them, on rows not seen."""
    version, _ = trained
    manifest = version.manifest
    assert manifest["files"] == {"model": "model.onnx", "tokenizer": "tokenizer.json"}
    signature = Signature(
        tuple(TensorSpec(name, Datatype.INT64, (DYNAMIC, DYNAMIC)) for name in (IDS, MASK)),
        (TensorSpec("logits", Datatype.FP32, (DYNAMIC, 2)),),
        batched=True,
    )
    graph = graph_of(
        TASK, manifest["pre"], manifest["post"], signature, labels=NAMES, files=version.files
    )
    exported = Exported(version.files["model"])
    exported.check(signature)
    unseen = rows(100, 600)
    inputs, context = graph.before([{"text": one} for one in unseen["line"]])
    ranking = graph.after(exported(inputs), context)
    found = [NAMES[indexes[0]] for indexes in ranking.indexes]
    assert np.mean([a == b for a, b in zip(found, unseen["kind"], strict=True)]) > 0.7
    for odd in ("", "\U0001f600", "x" * 5000):
        inputs, context = graph.before([{"text": odd}])
        assert len(graph.after(exported(inputs), context).indexes[0]) == 2


@pytest.mark.parametrize("network", ["bag", "transformer"])
def test_a_run_goes_on_from_a_checkpoint_to_the_same_weights(tmp_path, network):
    data = rows_of(SCHEMA, {"all": rows(96)})
    options = {
        "network": network,
        "vector_size": 16,
        "epochs": 2,
        "batch_size": 16,
        "dropout": 0.2,
        "class_weights": "balanced",
        "checkpoint_every_s": 0,
    }
    whole, _ = train(data, tmp_path / "whole", **options)
    ended = MemoryRun(tmp_path / "ended", seed=1, stop_after=8)
    with pytest.raises(Cancelled):
        train(data, None, run=ended, **options)
    going_on = MemoryRun(tmp_path / "going on", seed=1, checkpoint=ended.checkpoint())
    again, _ = train(data, None, run=going_on, **options)
    assert again.weights_digest == whole.weights_digest
    assert again.parity.is_met
    for role, file in again.files.items():
        assert file.read_bytes() == whole.files[role].read_bytes()


def test_a_row_that_cannot_be_used_is_named(tmp_path):
    schema = Schema((SCHEMA.columns[0], Column("kind", ColumnType.TEXT, ColumnRole.LABEL)))
    long = rows(40)
    long["line"][33] = "a" * 4_000_001
    with pytest.raises(RowsInvalid, match=r"Row 34 of split 'train' cannot be used: .*4000001"):
        train(rows_of(schema, {"train": long}), tmp_path)
    many = {"line": ["ab " * 16_400] * 20, "kind": ["a", "b"] * 10}
    with pytest.raises(InvalidInput, match="'memory_mb' or lower 'max_length'"):
        train(rows_of(schema, {"train": many}), tmp_path, max_length=16_384, memory_mb=1)


def test_data_that_does_not_suit_is_refused_before_anything_is_queued():
    data = rows_of(SCHEMA, {"train": rows(4)}).description
    with pytest.raises(InvalidInput, match="a multiple of 'heads'"):
        RECIPE.check(data, RECIPE.parameters(network="transformer", vector_size=30, heads=4))
    with pytest.raises(InvalidInput, match="'text_column' is 'kindd', which is no such column"):
        RECIPE.check(data, RECIPE.parameters(text_column="kindd"))
