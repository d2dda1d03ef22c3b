"""Real digits (8 x 8 pixels, from scikit-learn) through reading, training, export and parity."""

import io
from dataclasses import replace

import numpy as np
import onnx
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.support.explained import Explainer, within
from tests.support.task_models import ServedVersion

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.inputs import graph_of
from modelry.training.parity import Exported
from modelry.training.recipes.image_classification import ImageClassification
from modelry.training.recipes.image_classification.training import INPUT, TASK

RECIPE = ImageClassification()
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PIXELS, NUMBERS = load_digits(return_X_y=True)
PIXELS = np.minimum(PIXELS.reshape(-1, 8, 8) * 16, 255).astype(np.uint8)
LABEL = Column("digit", ColumnType.TEXT, ColumnRole.LABEL, classes=NAMES)
FILES = Schema((Column("picture", ColumnType.IMAGE), LABEL))


def png(pixels):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def files_of(places):
    return {
        "picture": [png(PIXELS[at]) for at in places],
        "digit": [NAMES[NUMBERS[at]] for at in places],
    }


def train(data, folder, *, run=None, **options):
    parameters = RECIPE.parameters(**options)
    RECIPE.check(data.description, parameters)
    run = run or MemoryRun(folder, seed=1)
    return RECIPE.train(data, parameters, run), run


@pytest.fixture(scope="module")
def digits():
    return rows_of(
        FILES, {"train": files_of(range(1200)), "validation": files_of(range(1200, 1500))}
    )


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    return train(digits, tmp_path_factory.mktemp("small"), epochs=6, learning_rate=0.01)


def test_the_default_network_learns_digits(trained):
    version, run = trained
    assert version.metrics["accuracy"] > 0.9
    assert version.metrics.keys() >= {"loss", "macro_f1", "top_5_accuracy"}
    assert run.curves[228]["validation_accuracy"] == pytest.approx(
        version.metrics["accuracy"], abs=0.05
    )
    assert {phase for *_, phase in run.told} >= {"reading train", "epoch 6 of 6", "exporting"}


def test_the_exported_model_answers_as_the_trained_one(trained):
    version, _ = trained
    parity = version.parity
    assert parity.is_met
    assert parity.rows == 300
    assert parity.max_abs < 1e-4
    assert parity.metric == "accuracy"
    assert parity.trained_metric == parity.exported_metric == version.metrics["accuracy"]


def test_the_version_serves_what_it_learnt(trained):
    """The file and the steps of the manifest, as a server would use them, on rows not seen."""
    version, _ = trained
    manifest = version.manifest
    assert manifest["files"] == {"model": "model.onnx"}
    assert manifest["labels"] == list(NAMES)
    signature = Signature(
        (TensorSpec(INPUT, Datatype.FP32, (DYNAMIC, 1, 8, 8)),),
        (TensorSpec("logits", Datatype.FP32, (DYNAMIC, 10)),),
        batched=True,
    )
    graph = graph_of(TASK, manifest["pre"], manifest["post"], signature, labels=NAMES)
    exported = Exported(version.files["model"])
    exported.check(signature)
    rows = range(1500, 1700)
    inputs, context = graph.before([{"image": png(PIXELS[at])} for at in rows])
    ranking = graph.after(exported(inputs), context)
    right = [found[0] == NUMBERS[at] for at, found in zip(rows, ranking.indexes, strict=True)]
    assert np.mean(right) > 0.85
    assert ranking.labels == NAMES


def test_a_mark_that_tells_a_class_is_what_its_explanation_shows(tmp_path):
    """Digits with a checkered mark somewhere are a class of their own: nothing else tells it."""
    random = np.random.default_rng(4)
    mark = np.indices((3, 3)).sum(axis=0) % 2 * 255

    def marked(at):
        pixels = PIXELS[at].copy()
        top, left = random.integers(6, size=2)
        pixels[top : top + 3, left : left + 3] = mark
        return png(pixels), (left, top, left + 3, top + 3)

    rows = files_of(range(600))
    rows["picture"] += [marked(at)[0] for at in range(600)]
    rows["digit"] += ["marked"] * 600
    label = replace(LABEL, classes=(*NAMES, "marked"))
    data = rows_of(Schema((FILES.columns[0], label)), {"all": rows})
    version, _ = train(data, tmp_path, epochs=6, learning_rate=0.01)
    steps = {name: version.manifest[name] for name in ("pre", "post", "labels")}
    explainer = Explainer(ServedVersion(TASK, version.files, **steps))
    found = []
    for at in range(1500, 1520):
        image, box = marked(at)
        told = explainer({"image": image}, checks=False).told
        if told["target"]["label"] == "marked":
            left, top, right, bottom = told["attribution"]["regions"][0]["box"]
            found.append(within([(left + right) / 2, (top + bottom) / 2] * 2, box))
    assert len(found) > 15
    assert np.mean(found) > 0.9


def test_the_file_tells_nothing_of_where_it_was_made(trained):
    version, _ = trained
    content = version.files["model"].read_bytes()
    for word in (b".py", b"site-packages", b"/home", b"/work", b"modelry", b"Traceback"):
        assert word not in content
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def test_the_residual_network_goes_on_from_a_checkpoint_to_the_same_weights(tmp_path):
    data = rows_of(FILES, {"all": files_of(range(96))})
    options = {
        "network": "residual",
        "width": 4,
        "epochs": 2,
        "batch_size": 32,
        "dropout": 0.2,
        "augment": ["flip", "shift", "turn", "brighten", "erase"],
        "label_smoothing": 0.1,
        "class_weights": "balanced",
        "checkpoint_every_s": 0,
    }
    whole, _ = train(data, tmp_path / "whole", **options)
    ended = MemoryRun(tmp_path / "ended", seed=1, stop_after=2)
    with pytest.raises(Cancelled):
        train(data, None, run=ended, **options)
    going_on = MemoryRun(tmp_path / "going on", seed=1, checkpoint=ended.checkpoint())
    again, _ = train(data, None, run=going_on, **options)
    assert again.weights_digest == whole.weights_digest
    assert again.metrics == whole.metrics
    assert again.parity.is_met
    assert again.files["model"].read_bytes() == whole.files["model"].read_bytes()


def test_arrays_are_learnt_from_as_the_same_images_would_be(tmp_path):
    places = range(64)
    schema = Schema(
        (
            Column("x", ColumnType.TENSOR, shape=(8, 8, 1), dtype="uint8"),
            Column("y", ColumnType.INTEGER, ColumnRole.LABEL),
        )
    )
    numbers = NUMBERS[: len(places)]
    arrays = rows_of(schema, {"train": {"x": PIXELS[: len(places)][..., None], "y": numbers}})
    files = rows_of(FILES, {"train": files_of(places)})
    options = {"epochs": 1, "validation_share": 0.0}
    one, _ = train(arrays, tmp_path / "arrays", **options)
    other, _ = train(files, tmp_path / "files", **options)
    assert one.weights_digest == other.weights_digest
    assert one.manifest["labels"] == [str(number) for number in range(10)]
    assert one.metrics.keys() == {"loss"}


def test_rows_beyond_the_memory_limit_are_processed_for_every_batch(tmp_path):
    big = [np.asarray(Image.fromarray(PIXELS[at]).resize((140, 140))) for at in range(8)]
    data = rows_of(
        FILES,
        {
            "train": {
                "picture": [png(one) for one in big],
                "digit": [NAMES[NUMBERS[at]] for at in range(8)],
            }
        },
    )
    options = {"epochs": 1, "batch_size": 4, "image_size": (128, 128), "colours": "rgb"}
    kept, _ = train(data, tmp_path / "kept", **options)
    anew, run = train(data, tmp_path / "anew", memory_mb=1, **options)
    assert any("processed anew" in line for line in run.lines)
    assert anew.weights_digest == kept.weights_digest


def test_rows_that_do_not_fit_as_files_either_are_read_again_part_by_part(tmp_path):
    draw = np.random.default_rng(0)
    places = range(60)
    noisy = [draw.integers(0, 60, (128, 128, 3), np.uint8) for _ in places]
    for at, pixels in zip(places, noisy, strict=True):
        pixels[..., 0] += np.asarray(Image.fromarray(PIXELS[at]).resize((128, 128))) // 2
    data = rows_of(
        FILES,
        {"train": {"picture": [png(one) for one in noisy], "digit": files_of(places)["digit"]}},
        part_rows=10,
    )
    options = {"epochs": 2, "batch_size": 8, "memory_mb": 1, "checkpoint_every_s": 0}
    whole, run = train(data, tmp_path / "whole", **options)
    assert any("read anew in every epoch" in line for line in run.lines)
    ended = MemoryRun(tmp_path / "ended", seed=1, stop_after=9)
    with pytest.raises(Cancelled):
        train(data, None, run=ended, **options)
    going_on = MemoryRun(tmp_path / "on", seed=1, checkpoint=ended.checkpoint())
    again, _ = train(data, None, run=going_on, **options)
    assert again.weights_digest == whole.weights_digest


def test_a_row_that_cannot_be_used_is_named(tmp_path):
    broken = files_of(range(300))
    broken["picture"][280] = broken["picture"][280][:40]
    with pytest.raises(RowsInvalid, match=r"Row 281 of split 'train' cannot be used: .*image"):
        train(rows_of(FILES, {"train": broken}), tmp_path, epochs=1)
    wrong = files_of(range(300))
    wrong["digit"][270] = "ten"
    with pytest.raises(RowsInvalid, match=r"Row 271 of split 'train' has the label 'ten'"):
        train(rows_of(FILES, {"train": wrong}), tmp_path, epochs=1)
    none = {"picture": [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"], "digit": ["one"] * 3}
    with pytest.raises(RowsInvalid, match="None of the first"):
        train(rows_of(FILES, {"train": none}), tmp_path, epochs=1)


def test_one_class_alone_is_refused(tmp_path):
    ones = files_of([at for at in range(400) if NUMBERS[at] == 1])
    with pytest.raises(RowsInvalid, match="learnt from have the label 'one'"):
        train(rows_of(FILES, {"train": ones}), tmp_path, epochs=1)
    one = Column("digit", ColumnType.TEXT, ColumnRole.LABEL, classes=("one",))
    declared = rows_of(Schema((FILES.columns[0], one)), {"train": ones})
    with pytest.raises(InvalidInput, match="one class only"):
        train(declared, tmp_path, epochs=1)


def test_it_stops_while_rows_are_read(tmp_path):
    run = MemoryRun(tmp_path)
    run.stop.set()
    with pytest.raises(Cancelled, match="while 'train' was read"):
        train(rows_of(FILES, {"train": files_of(range(20))}), None, run=run)
