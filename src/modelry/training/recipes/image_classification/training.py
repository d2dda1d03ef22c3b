"""From rows of images to a version that classifies them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelry.datasets.pictures import image_files
from modelry.domain.datasets import Column
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.graph import ProcessingGraph
from modelry.training.augmentation import changed
from modelry.training.classifying import (
    ClassLoss,
    accuracy_of,
    class_steps,
    held_out_places,
    logits_over,
    logits_spec,
    measured,
)
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.images import looks
from modelry.training.inputs import CHUNK, Inputs, Rows, graph_of
from modelry.training.labels import Classes, Numbers, check_occurring, find_classes
from modelry.training.loop import Monitor, fit, prepare
from modelry.training.outcome import Outcome, finish
from modelry.training.parity import ROWS
from modelry.training.recipes.image_classification import (
    ImageClassificationParameters,
    chosen_columns,
)
from modelry.training.recipes.image_classification.networks import ResidualNetwork, SmallNetwork
from modelry.training.selection import choose_splits

INPUT = "image"
TASK = "image-classification"
KEPT_SIZE = 64
"""Images up to this many pixels high and wide are taken as they are."""
USUAL_SIZE = 96
SIZES = range(8, 1025)
MEASURED_ROWS = 256
"""How many rows are scored at a time."""


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Some rows, ready: their pixels, their classes, and which of them are meant."""

    inputs: Inputs
    numbers: Numbers
    places: torch.Tensor

    @property
    def chosen(self) -> Numbers:
        """The classes of the rows that are meant."""
        found: Numbers = self.numbers[self.places.numpy()]
        return found

    def pixels(self) -> Iterator[tuple[torch.Tensor]]:
        """The pixels of the rows that are meant, in order, some at a time."""
        for part in torch.split(self.places, MEASURED_ROWS):
            yield (self.inputs.take(part),)


class Examples:
    """Implements `loop.Examples`: pixels, changed at random, and class numbers."""

    def __init__(self, rows: ImageRows, changes: Sequence[str], device: torch.device) -> None:
        self._rows, self._changes, self._device = rows, changes, device
        self._numbers = torch.from_numpy(rows.numbers)

    def __len__(self) -> int:
        return len(self._rows.places)

    def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `loop.Examples.batch`."""
        chosen = self._rows.places[places]
        pixels = changed(self._rows.inputs.take(chosen), self._changes)
        return pixels.to(self._device), self._numbers[chosen].to(self._device)


def train(data: TrainingData, parameters: ImageClassificationParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    device = prepare(run.seed, parameters)
    image, label = chosen_columns(data.description, parameters)
    splits = choose_splits(data.description, parameters)
    used = [splits.train, *([splits.validation] if splits.validation else [])]
    classes = find_classes(data, label, used)
    shape = _shape(data, splits.train, image, parameters)
    pre = _pre(shape)
    signature = Signature(
        (TensorSpec(INPUT, Datatype.FP32, (DYNAMIC, *shape)),),
        (logits_spec(len(classes.names)),),
        batched=True,
    )
    post = class_steps(len(classes.names))
    graph = graph_of(TASK, pre, post, signature, labels=classes.names)

    reader = _Reader(
        data=data,
        image=image,
        label=label,
        classes=classes,
        graph=graph,
        shape=shape,
        limit_bytes=parameters.memory_mb * 2**20,
        run=run,
    )
    learnt = reader.read(splits.train)
    if splits.validation is not None:
        measured_on = reader.read(splits.validation)
    else:
        places, held_out = held_out_places(len(learnt.places), splits.held_out, run.seed)
        measured_on = ImageRows(learnt.inputs, learnt.numbers, held_out)
        learnt = ImageRows(learnt.inputs, learnt.numbers, places)
    check_occurring(learnt.chosen, classes, splits.train)

    model = _network(parameters, shape, len(classes.names)).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = ClassLoss(
        learnt.chosen, len(classes.names), parameters.class_weights, parameters.label_smoothing
    ).to(device)
    fitted = fit(
        model,
        Examples(learnt, parameters.augment, device),
        lambda batch: loss(model(batch[0]), batch[1]),
        parameters,
        run,
        validate=_measuring(model, measured_on, device),
        monitor=Monitor("accuracy", larger_is_better=True),
        fingerprint=f"{data.description.digest} {image.name} {label.name}",
    )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    compared = measured_on if len(measured_on.places) > 1 else learnt
    places = compared.places[:ROWS]
    return finish(
        Outcome(
            model=model,
            signature=signature,
            manifest={"task": TASK, "pre": pre, "post": post, "labels": list(classes.names)},
            rows={INPUT: compared.inputs.take(places).numpy()},
            metrics=fitted.measured or {"loss": fitted.loss},
            metric=accuracy_of(compared.numbers[places.numpy()]),
        ),
        run,
    )


def _shape(
    data: TrainingData, split: str, column: Column, parameters: ImageClassificationParameters
) -> tuple[int, int, int]:
    """Channels, height and width of the network's input."""
    found = looks(data, split, column)
    gray = found.are_gray if parameters.colours == "auto" else parameters.colours == "gray"
    width, height = parameters.image_size or (
        (found.width, found.height)
        if max(found.width, found.height) <= KEPT_SIZE
        else (USUAL_SIZE, USUAL_SIZE)
    )
    if width not in SIZES or height not in SIZES:
        raise InvalidInput(
            f"Images would be {width} x {height} pixels; this recipe takes {SIZES[0]} to "
            f"{SIZES[-1]} a side. Set 'image_size'.",
            param="image_size",
        )
    return (1 if gray else 3, height, width)


def _pre(shape: tuple[int, int, int]) -> list[Any]:
    channels, height, width = shape
    return [
        {"decode": "gray" if channels == 1 else "rgb"},
        {"resize": [width, height]},
        {"scale": "1/255"},
        {"layout": "nchw"},
    ]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads splits through the graph; all have the same columns and classes."""

    data: TrainingData
    image: Column
    label: Column
    classes: Classes
    graph: ProcessingGraph
    shape: tuple[int, int, int]
    limit_bytes: int
    run: Run

    def read(self, split: str) -> ImageRows:
        """All rows of a split.

        Raises:
            RowsInvalid: an image or label cannot be used; names its row.
            Cancelled: the run was stopped.
        """
        count = self.data.description.rows[split]
        inputs = Inputs(self.graph, INPUT, self.shape, self.limit_bytes)
        numbers: Numbers = np.empty(count, dtype=np.int64)
        inputs.fill(self._rows(split, numbers), count, self.run)
        return ImageRows(inputs, numbers, torch.arange(count))

    def _rows(self, split: str, numbers: Numbers) -> Iterator[Rows]:
        first = 0
        names = [self.image.name, self.label.name]
        for batch in self.data.batches(split, names, CHUNK):
            if self.run.stop.is_set():
                raise Cancelled(f"Training was stopped while '{split}' was read.")
            found = self.classes.numbers(batch.column(1), split, first)
            numbers[first : first + len(batch)] = found
            files = image_files(self.image, batch.column(0))
            yield Rows(split, first, [{INPUT: file} for file in files])
            first += len(batch)


def _network(
    parameters: ImageClassificationParameters, shape: tuple[int, int, int], classes: int
) -> torch.nn.Module:
    channels, height, width = shape
    if parameters.network == "small":
        return SmallNetwork(channels, height, width, classes)
    return ResidualNetwork(
        channels, classes, parameters.width, parameters.blocks, parameters.dropout
    )


def _measuring(model: torch.nn.Module, rows: ImageRows, device: torch.device) -> Any:
    """What `fit` calls after every epoch; None when nothing is held out."""
    if len(rows.places) == 0:
        return None
    return lambda: measured(logits_over(model, rows.pixels(), device), rows.chosen)
