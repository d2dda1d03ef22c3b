"""From rows of images and boxes to a version that finds objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modelry.domain.errors import InvalidInput
from modelry.metrics.detection import DetectionQuality, DetectionScores
from modelry.processing.values import Context, Detections
from modelry.runtime_api.tensors import Array
from modelry.training.classifying import held_out_places
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.loop import Fitted, Monitor, fit, prepare
from modelry.training.outcome import Outcome, finish
from modelry.training.parity import ROWS
from modelry.training.recipes.object_detection import (
    DetectionParameters,
    chosen_columns,
    serving,
)
from modelry.training.recipes.object_detection.assignment import Truth
from modelry.training.recipes.object_detection.augmentation import augment
from modelry.training.recipes.object_detection.losses import losses
from modelry.training.recipes.object_detection.network import Detector, Exportable
from modelry.training.recipes.object_detection.pasting import paste
from modelry.training.recipes.object_detection.rows import Pictures, read
from modelry.training.selection import choose_splits

MEASURED_AT_ONCE = 32
LEAST_SCORE = 0.01
"""When quality is measured; average precision needs the unsure ones too."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Images (n, 3, h, w), floating, 0 to 255, and what is in them."""

    images: Tensor
    truth: Truth


@dataclass(frozen=True, slots=True)
class Learnt:
    """A detector with its weights, how it went, and what it can be compared on."""

    detector: Detector
    fitted: Fitted
    pictures: Pictures
    served: serving.Served


class Examples:
    """Implements `loop.Examples`: pixels, changed at random, and what is in them.

    Args:
        pictures: what is learnt from.
        parameters: say whether and how they are changed.
        device: where the network is.
    """

    def __init__(
        self, pictures: Pictures, parameters: DetectionParameters, device: torch.device
    ) -> None:
        self._pictures, self._parameters, self._device = pictures, parameters, device

    def __len__(self) -> int:
        return len(self._pictures)

    def batch(self, places: Tensor) -> Batch:
        """See `loop.Examples.batch`."""
        chosen = places.tolist()
        pixels = torch.from_numpy(self._pictures.pixels[chosen]).to(self._device)
        images = pixels.to(torch.float32).contiguous(memory_format=torch.channels_last)
        truth = _truth(self._pictures, chosen)
        if self._parameters.augment:
            images, truth = augment(images, truth, mirror=self._parameters.mirror)
            images, truth = paste(images, truth, self._parameters.paste)
        return Batch(images, Truth(*(one.to(self._device) for one in truth)))


def train(data: TrainingData, parameters: DetectionParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    return finish(outcome(learn(data, parameters, run)), run)


def learn(data: TrainingData, parameters: DetectionParameters, run: Run) -> Learnt:
    """Train a detector; raises as `Recipe.train`."""
    device = prepare(run.seed, parameters)
    columns = chosen_columns(data.description, parameters)
    served = serving.served(parameters.size, columns[1].classes)
    learnt, measured_on = _pictures(data, parameters, served, run)
    detector = Detector(
        len(served.classes), (served.side, served.side), parameters.width, parameters.blocks
    )
    detector = detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fitted = fit(
        detector,
        Examples(learnt, parameters, device),
        lambda batch: losses(detector, detector(batch.images), batch.truth).total,
        parameters,
        run,
        validate=_measuring(detector, measured_on, served, device),
        monitor=Monitor("map", larger_is_better=True),
        fingerprint=f"{data.description.digest} {columns[0].name} {columns[1].name}",
    )
    compared = measured_on if measured_on is not None and len(measured_on) > 1 else learnt
    return Learnt(detector, fitted, compared, served)


def outcome(learnt: Learnt) -> Outcome:
    """What is exported, and the rows that show that it is the same."""
    served = learnt.served
    pictures = learnt.pictures.take(np.arange(min(len(learnt.pictures), ROWS)))

    def quality(outputs: Mapping[str, Array]) -> float:
        return measure(outputs[serving.OUTPUT], pictures, served).map or 0.0

    learnt.detector.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Outcome(
        model=Exportable(learnt.detector),
        signature=serving.signature(served.side, len(served.classes)),
        manifest=serving.manifest(served.side, served.classes),
        rows={serving.INPUT: pictures.pixels},
        metrics=learnt.fitted.measured or {"loss": learnt.fitted.loss},
        metric=("map", quality),
    )


def measure(outputs: Array, pictures: Pictures, served: serving.Served) -> DetectionQuality:
    """The quality of an exported model's outputs (n, 4 + classes, cells) for `pictures`."""
    scores = DetectionScores(len(served.classes))
    for at, (boxes, classes) in enumerate(zip(pictures.boxes, pictures.classes, strict=True)):
        where = pictures.geometry[at]
        context = Context(1, [where], (served.side, served.side))
        rows = {serving.OUTPUT: outputs[at : at + 1]}
        found = served.graph.after(rows, context, {"min_score": LEAST_SCORE})
        assert isinstance(found, Detections)
        (one,) = found.items
        true = where.to_original(boxes.astype(np.float64))
        scores.add(one.boxes, one.scores, one.classes, true, classes)
    return scores.result()


def _pictures(
    data: TrainingData, parameters: DetectionParameters, served: serving.Served, run: Run
) -> tuple[Pictures, Pictures | None]:
    """What is learnt from, and what is measured on."""
    columns = chosen_columns(data.description, parameters)
    splits = choose_splits(data.description, parameters)
    learnt = read(data, splits.train, columns, served, run)
    measured_on: Pictures | None = None
    if splits.validation is not None:
        measured_on = read(data, splits.validation, columns, served, run)
    elif splits.held_out:
        places, held_out = held_out_places(len(learnt), splits.held_out, run.seed)
        learnt, measured_on = learnt.take(places.numpy()), learnt.take(held_out.numpy())
    if not any(map(len, learnt.boxes)):
        raise InvalidInput(
            f"No image of split '{splits.train}' has a box; there is nothing to learn.",
            param="train_split",
        )
    if measured_on is not None and not any(map(len, measured_on.boxes)):
        run.log("nothing is measured: no image that is held out has a box")
        measured_on = None
    return learnt, measured_on


def _measuring(
    detector: Detector, pictures: Pictures | None, served: serving.Served, device: torch.device
) -> Callable[[], Mapping[str, float]] | None:
    """Measures on held-out images, through the steps that will serve; None when there are none."""
    if pictures is None:
        return None
    model = Exportable(detector).to(device)

    def measured() -> Mapping[str, float]:
        outputs = [
            model(torch.from_numpy(pictures.pixels[start : start + MEASURED_AT_ONCE]).to(device))
            for start in range(0, len(pictures), MEASURED_AT_ONCE)
        ]
        return measure(torch.cat(outputs).cpu().numpy(), pictures, served).to_metrics()

    return measured


def _truth(pictures: Pictures, chosen: Sequence[int]) -> Truth:
    most = max((len(pictures.boxes[at]) for at in chosen), default=0)
    boxes = np.zeros((len(chosen), most, 4), dtype=np.float32)
    classes = np.zeros((len(chosen), most), dtype=np.int64)
    is_real = np.zeros((len(chosen), most), dtype=bool)
    for row, at in enumerate(chosen):
        count = len(pictures.boxes[at])
        boxes[row, :count], classes[row, :count] = pictures.boxes[at], pictures.classes[at]
        is_real[row, :count] = True
    return Truth(*(torch.from_numpy(one) for one in (boxes, classes, is_real)))
