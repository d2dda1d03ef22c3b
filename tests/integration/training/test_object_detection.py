"""The detector: cells and their objects, losses, augmentation, and a version that finds things."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.explained import Explainer, within
from tests.support.task_models import ServedVersion

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled, InvalidInput, RowsInvalid
from modelry.processing.detection.family import Dense
from modelry.processing.values import Detections
from modelry.testing.datasets import MemoryRows, rows_of
from modelry.testing.training import MemoryRun
from modelry.training.contract import Trained
from modelry.training.parity import Exported
from modelry.training.recipes.object_detection import (
    DetectionParameters,
    ObjectDetection,
    chosen_columns,
    serving,
)
from modelry.training.recipes.object_detection.assignment import Truth, assign, paired_iou
from modelry.training.recipes.object_detection.augmentation import augment, colour_mixing
from modelry.training.recipes.object_detection.losses import generalised_iou, losses
from modelry.training.recipes.object_detection.network import BINS, Detector, Seen
from modelry.training.recipes.object_detection.pasting import paste
from modelry.training.recipes.object_detection.rows import Pictures, read
from modelry.training.recipes.object_detection.training import learn
from modelry.training.weights import digest_of

CLASSES = ("red", "blue")
SIDE = 64
SCHEMA = Schema(
    (
        Column("image", ColumnType.IMAGE),
        Column("objects", ColumnType.BOXES, ColumnRole.LABEL, classes=CLASSES),
    )
)
PARAMETERS = DetectionParameters(
    epochs=10, batch_size=8, size=SIDE, width=8, learning_rate=4e-3, augment=False
)


def image_of(random: np.random.Generator) -> tuple[bytes, list[tuple[int, int, int, int, int]]]:
    """A red and a blue rectangle on noise."""
    pixels = random.integers(90, 130, (SIDE, SIDE, 3), np.uint8)
    found = []
    for label, left in ((0, 0), (1, SIDE // 2)):
        width, height = (int(side) for side in random.integers(12, 28, 2))
        x = left + int(random.integers(0, SIDE // 2 - width))
        y = int(random.integers(0, SIDE - height))
        pixels[y : y + height, x : x + width] = [220, 30, 30] if label == 0 else [30, 30, 220]
        found.append((label, x, y, width, height))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), found


def rows(seed: int, count: int) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    made = [image_of(random) for _ in range(count)]
    return {"image": [one[0] for one in made], "objects": [one[1] for one in made]}


@pytest.fixture(scope="module")
def data() -> MemoryRows:
    return rows_of(SCHEMA, {"train": rows(1, 64), "validation": rows(2, 12)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MemoryRun:
    return MemoryRun(tmp_path_factory.mktemp("run"), seed=1)


@pytest.fixture(scope="module")
def trained(data: MemoryRows, run: MemoryRun) -> Trained:
    return ObjectDetection().train(data, PARAMETERS, run)


def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(2, (SIDE, SIDE), 4, 1).eval()


def truth(*boxes: list[float]) -> Truth:
    count = len(boxes)
    return Truth(torch.tensor(boxes, dtype=torch.float32).reshape(1, count, 4),
                 torch.zeros((1, count), dtype=torch.long),
                 torch.ones((1, count), dtype=torch.bool))  # fmt: skip


def test_it_learns_to_find_what_it_was_shown(trained: Trained) -> None:
    assert trained.metrics["map_50"] > 0.9
    assert trained.metrics["map"] > 0.5


def test_the_exported_model_answers_as_the_trained_one(trained: Trained) -> None:
    assert trained.parity.is_met
    assert trained.parity.rows == 12
    assert trained.parity.max_abs < 1e-5
    assert trained.parity.exported_metric == pytest.approx(trained.metrics["map"], abs=1e-6)


def test_curves_tell_loss_and_quality(run: MemoryRun, trained: Trained) -> None:
    points = [one["validation_map"] for one in run.curves.values() if "validation_map" in one]
    assert len(points) == PARAMETERS.epochs
    assert max(points) == trained.metrics["map"]


def test_the_version_serves_boxes_in_pixels_of_the_image(trained: Trained, answers: Any) -> None:
    content, objects = image_of(np.random.default_rng(9))
    with Image.open(io.BytesIO(content)) as image:
        twice = image.resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST)
    file = io.BytesIO()
    twice.save(file, "PNG")
    for scale, asked in ((1, content), (2, file.getvalue())):
        best = answers(asked)[:2]
        assert sorted(label for label, _ in best) == ["blue", "red"]
        for label, box in best:
            _, x, y, width, height = objects[CLASSES.index(label)]
            true = torch.tensor([x, y, x + width, y + height]) * scale
            assert paired_iou(torch.tensor(box), true.float()) > 0.6


def test_explanations_of_its_boxes_fall_on_their_objects(trained: Trained) -> None:
    """The pointing game of a detector that has learnt; `make bench-explain-planted` plays more."""
    steps = {name: trained.manifest[name] for name in ("pre", "post", "labels")}
    explainer = Explainer(ServedVersion(trained.manifest["task"], trained.files, **steps))
    right = []
    for seed in range(20, 23):
        content, objects = image_of(np.random.default_rng(seed))
        told = explainer({"image": content}, calls=384, checks=False).told
        for one in told["attribution"]["objects"][:2]:
            _, x, y, width, height = objects[CLASSES.index(one["label"])]
            left, top, right_edge, bottom = one["regions"][0]["box"]
            middle = [(left + right_edge) / 2, (top + bottom) / 2] * 2
            right.append(within(middle, (x, y, x + width, y + height)))
    assert len(right) == 6
    assert np.mean(right) > 0.8


def test_a_run_that_was_stopped_ends_in_the_same_weights(data: MemoryRows, tmp_path: Path) -> None:
    short = PARAMETERS.model_copy(
        update={"epochs": 2, "augment": True, "width": 4, "checkpoint_every_s": 0.0}
    )
    whole = learn(data, short, MemoryRun(tmp_path / "whole"))
    stopped = MemoryRun(tmp_path / "stopped", stop_after=5)
    with pytest.raises(Cancelled):
        learn(data, short, stopped)
    again = MemoryRun(tmp_path / "again", checkpoint=stopped.checkpoint())
    resumed = learn(data, short, again)
    assert any("going on after step 5" in line for line in again.lines)
    weights = resumed.detector.state_dict()
    assert digest_of(weights) == digest_of(whole.detector.state_dict())
    assert resumed.fitted.measured == whole.fitted.measured


def test_without_a_single_box_there_is_nothing_to_learn(tmp_path: Path) -> None:
    empty = rows(1, 4) | {"objects": [[], [], [], []]}
    with pytest.raises(InvalidInput, match="No image of split 'train' has a box"):
        ObjectDetection().train(rows_of(SCHEMA, {"train": empty}), PARAMETERS, MemoryRun(tmp_path))


def test_boxes_are_where_processing_reads_them_from_the_same_distributions() -> None:
    model = detector()
    edges = torch.randn(2, len(model.points), 4, BINS)
    family = serving_distances(model, edges)
    items, places = np.nonzero(np.ones(edges.shape[:2], dtype=bool))
    read = family.boxes(items, places).reshape(2, -1, 4)
    assert np.allclose(model.boxes(edges).numpy(), read, atol=1e-4)


def test_an_object_gets_cells_inside_of_it_and_no_others() -> None:
    model = detector()
    box = [8.0, 8.0, 40.0, 32.0]
    targets = assign_with(model, truth(box))
    own = model.points[targets.is_own[0]]
    assert 1 <= len(own) <= 10
    assert ((own > torch.tensor(box[:2])) & (own < torch.tensor(box[2:]))).all()
    assert (targets.boxes[0][targets.is_own[0]] == torch.tensor(box)).all()
    assert (targets.scores[0][~targets.is_own[0]] == 0).all()


def test_an_object_between_all_cells_gets_the_nearest_one() -> None:
    model = detector()
    targets = assign_with(model, truth([5.0, 5.0, 6.5, 6.5]))
    assert model.points[targets.is_own[0]].tolist() == [[4.0, 4.0]]


def test_a_cell_that_two_objects_want_goes_to_the_one_it_overlaps_most() -> None:
    model = detector()
    boxes = model.boxes(torch.zeros(1, len(model.points), 4, BINS))
    low, high = truth(boxes[0, 0].tolist()), [0.0, 0.0, 64.0, 64.0]
    both = truth(low.boxes[0, 0].tolist(), high)
    scores = torch.full((1, len(model.points), 2), 0.5)
    targets = assign(scores, boxes, model.points, both)
    assert targets.boxes[0, 0].tolist() == low.boxes[0, 0].tolist()


def test_the_better_a_cell_does_the_surer_it_shall_be() -> None:
    model = detector()
    box = [8.0, 8.0, 40.0, 40.0]
    edges = torch.randn(1, len(model.points), 4, BINS)
    boxes = model.boxes(edges)
    scores = torch.full((1, len(model.points), 2), 0.5)
    targets = assign(scores, boxes, model.points, truth(box))
    overlaps = paired_iou(boxes[0], torch.tensor(box))
    own = targets.is_own[0]
    assert targets.scores[0, own, 0].max() == pytest.approx(float(overlaps[own].max()), rel=1e-2)
    order = overlaps[own].argsort()
    assert (targets.scores[0, own, 0][order].diff() >= -1e-6).all()


def test_no_objects_give_a_loss_that_can_be_learnt_from() -> None:
    model = detector()
    seen = model(torch.rand(1, 3, SIDE, SIDE) * 255)
    told = losses(model, seen, truth())
    told.total.backward()  # type: ignore[no-untyped-call]
    assert told.total > 0
    assert told.boxes == told.edges == 0


def test_the_right_answer_has_less_loss_than_any_other() -> None:
    model = detector()
    box = [16.0, 16.0, 48.0, 48.0]
    points, steps = model.points, model.steps
    corners = torch.tensor(box)
    distances = torch.cat([points - corners[:2], corners[2:] - points], 1) / steps
    right = -8 * (torch.arange(BINS) - distances.clamp(0, BINS - 1)[..., None]).abs()
    targets = assign(torch.full((1, len(points), 2), 0.5), model.boxes(right[None]), points,
                     truth(box))  # fmt: skip
    says = targets.scores.clamp(1e-4, 1 - 1e-4).logit()
    perfect = losses(model, Seen(says, right[None]), truth(box))
    unsure = losses(model, Seen(torch.zeros_like(says), right[None]), truth(box))
    off = losses(model, Seen(says, right.roll(2, dims=2)[None]), truth(box))
    assert perfect.classes < unsure.classes
    assert perfect.boxes < off.boxes
    assert perfect.edges < off.edges


def test_overlap_losses_pull_at_boxes_that_do_not_touch() -> None:
    one = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    near = torch.tensor([[12.0, 0.0, 22.0, 10.0]])
    far = torch.tensor([[50.0, 0.0, 60.0, 10.0]])
    assert generalised_iou(one, one).item() == pytest.approx(1.0)
    assert generalised_iou(one, near).item() == pytest.approx(-2 / 22)
    assert generalised_iou(one, far) < generalised_iou(one, near) < 0


def test_augmentation_moves_boxes_with_their_pixels() -> None:
    torch.manual_seed(5)
    images = torch.zeros(32, 3, 96, 96)
    images[:, :, 30:60, 20:70] = 255.0
    boxes = torch.tensor([20.0, 30.0, 70.0, 60.0]).expand(32, 1, 4)
    before = Truth(boxes, torch.zeros(32, 1, dtype=torch.long), torch.ones(32, 1).bool())
    changed, after = augment(images, before, mirror=True)
    assert len({tuple(box) for box in after.boxes[:, 0].tolist()}) == 32
    for image, box, is_real in zip(changed, after.boxes[:, 0], after.is_real[:, 0], strict=True):
        if not is_real:
            continue
        x, y = (int(at) for at in (box[:2] + box[2:]) / 2)
        bright = image[0] > (image[0, y, x] + 114.0) / 2
        rows_, columns = torch.nonzero(bright, as_tuple=True)
        seen = torch.tensor([columns.min(), rows_.min(), columns.max() + 1, rows_.max() + 1])
        assert (seen - box).abs().max() <= 1.6
    assert after.is_real.sum() > 20


def test_colours_turn_around_the_greys() -> None:
    torch.manual_seed(5)
    mixing = colour_mixing(16)
    assert torch.allclose(mixing.sum(2), torch.ones(16, 3), atol=1e-5)
    red = mixing @ torch.tensor([1.0, 0.0, 0.0])
    assert red.std(0).min() > 0.05


def painted(boxes: Sequence[Sequence[Sequence[float]]]) -> tuple[torch.Tensor, Truth]:
    """Image i is black, its objects have the brightness 20 * (i + 1)."""
    images = torch.zeros(len(boxes), 3, SIDE, SIDE)
    for at, some in enumerate(boxes):
        for x0, y0, x1, y1 in some:
            images[at, :, int(y0) : int(y1), int(x0) : int(x1)] = 20.0 * (at + 1)
    count = max(map(len, boxes))
    there = torch.tensor([[*some, *[[0.0] * 4] * (count - len(some))] for some in boxes])
    there = there.reshape(len(boxes), count, 4).float()
    reals = torch.tensor([[at < len(some) for at in range(count)] for some in boxes]).bool()
    return images, Truth(there, torch.arange(len(boxes))[:, None].expand(-1, count), reals)


def test_pieces_bring_their_objects_and_cover_none() -> None:
    torch.manual_seed(3)
    images, before = painted(
        [[[4, 4, 24, 20]], [[30, 30, 50, 60], [2, 2, 12, 12]], [], [[0, 40, 9, 64]]]
    )
    changed, after = paste(images, before, 1.0)
    assert after.is_real.sum() > before.is_real.sum() + 2
    assert changed.shape == images.shape
    for at, (image, boxes, classes, reals) in enumerate(zip(changed, *after, strict=True)):
        own = before.boxes[at][before.is_real[at]]
        assert torch.equal(boxes[: len(own)], own)
        for box, number in zip(boxes[reals], classes[reals], strict=True):
            x0, y0, x1, y1 = (round(float(edge)) for edge in box)
            assert (image[:, y0:y1, x0:x1] == 20.0 * (int(number) + 1)).all()


def test_where_nothing_may_be_pasted_nothing_is() -> None:
    images, before = painted([[[4, 4, 24, 20]], [[30, 30, 50, 60]]])
    full = painted([[[0, 0, 64, 64]], [[0, 0, 64, 64]]])
    for (pixels, truth_), share in (((images, before), 0.0), (full, 1.0), (painted([[]]), 1.0)):
        changed, after = paste(pixels, truth_, share)
        assert torch.equal(changed, pixels)
        assert int(after.is_real.sum()) == int(truth_.is_real.sum())


def assign_with(model: Detector, there: Truth) -> Any:
    seen = model(torch.rand(1, 3, SIDE, SIDE) * 255)
    return assign(seen.scores.sigmoid(), model.boxes(seen.edges), model.points, there)


def serving_distances(model: Detector, edges: torch.Tensor) -> Dense:
    """What the family `dfl` of the steps reads."""
    from modelry.domain.signature import Datatype, TensorSpec
    from modelry.processing.detection.distances import DISTANCES

    n, p = edges.shape[:2]
    specs = (TensorSpec("s", Datatype.FP32, (-1, p, 2)),
             TensorSpec("d", Datatype.FP32, (-1, p, 4 * BINS)))  # fmt: skip
    decoder = DISTANCES.build(specs, {"bins": BINS, "strides": serving.STRIDES, "centre": 0.5,
                                      "activation": "sigmoid"})  # fmt: skip
    scores = np.zeros((n, p, 2), np.float32)
    return decoder.read([scores, edges.reshape(n, p, -1).numpy()], model.size)


@pytest.fixture(scope="module")
def answers(trained: Trained) -> Any:
    """Asks the exported version through its processing graph."""
    graph = serving.served(SIDE, CLASSES).graph
    session = Exported(trained.files["model"])

    def ask(content: bytes, **options: Any) -> list[tuple[str, list[float]]]:
        inputs, context = graph.before([{"image": content}], options)
        found = graph.after(session(inputs), context, options)
        assert isinstance(found, Detections)
        (one,) = found.items
        assert found.labels is not None
        return [(found.labels[int(label)], box.tolist())
                for box, label in zip(one.boxes, one.classes, strict=True)]  # fmt: skip

    return ask


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(file, "PNG")
    return file.getvalue()


def pictures(images: list[bytes], objects: list[Any]) -> Pictures:
    held = rows_of(SCHEMA, {"train": {"image": images, "objects": objects}})
    columns = chosen_columns(held.description, PARAMETERS)
    with tempfile.TemporaryDirectory() as folder:
        run = MemoryRun(Path(folder))
        return read(held, "train", columns, serving.served(SIDE, CLASSES), run)


def test_boxes_are_moved_with_the_pixels_of_a_letterboxed_image() -> None:
    found = pictures([png(128, 64)], [[(1, 0, 0, 64, 32)]])
    assert found.pixels.shape == (1, 3, SIDE, SIDE)
    assert found.boxes[0].tolist() == [[0, 16, 32, 32]]  # half the size, bars of 16 above and below
    assert found.classes[0].tolist() == [1]
    assert found.geometry[0].to_original(found.boxes[0]).tolist() == [[0, 0, 64, 32]]


def test_pixels_are_those_that_serving_makes() -> None:
    random = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (50, 90, 3), np.uint8)).save(file, "JPEG")
    served, _ = serving.served(SIDE, CLASSES).graph.before([{"image": file.getvalue()}])
    assert np.array_equal(pictures([file.getvalue()], [[]]).pixels, served[serving.INPUT])


def test_images_without_objects_are_examples_too() -> None:
    found = pictures([png(64, 64), png(64, 64)], [[], [(0, 1, 1, 9, 9)]])
    assert [len(one) for one in found.boxes] == [0, 1]


def test_a_box_just_over_the_edge_is_cut() -> None:
    assert pictures([png(64, 64)], [[(0, -0.5, 3, 65, 9)]]).boxes[0].tolist() == [[0, 3, 64, 12]]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0, 0, 0, 0, 5), "is empty"),
        ((0, 5, 5, -3, 5), "is empty"),
        ((0, float("nan"), 0, 5, 5), "no numbers"),
        ((0, 60, 0, 30, 5), "reaches out of its image of 64 x 64"),
        ((2, 0, 0, 5, 5), "has class 2; there are 2"),
    ],
)
def test_boxes_that_are_none_are_refused_with_their_row(box: Any, reason: str) -> None:
    with pytest.raises(RowsInvalid, match=f"row 2: box 1 .*{reason}"):
        pictures([png(64, 64), png(64, 64)], [[], [box]])


def test_images_that_cannot_be_decoded_are_refused_with_their_rows() -> None:
    with pytest.raises(RowsInvalid, match=r"7 rows .* row 2: .*; row 3: .*\(and 2 more\)"):
        pictures([png(64, 64)] + 7 * [b"no image"], 8 * [[]])
