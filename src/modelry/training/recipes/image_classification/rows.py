"""Rows of images, ready to be learnt from and to be measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modelry.datasets.pictures import image_files
from modelry.domain.datasets import Column
from modelry.processing.graph import ProcessingGraph
from modelry.runtime_api.tensors import Array
from modelry.training.augmentation import changed
from modelry.training.classifying import held_out_places, logits_over, measured
from modelry.training.contract import Run, TrainingData
from modelry.training.inputs import CHUNK, Inputs, Rows
from modelry.training.labels import Classes, Numbers, check_occurring
from modelry.training.loop import Plan
from modelry.training.selection import Splits

ITEM = "image"
"""The field that the version's first step reads."""
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

    def plan(self, batch_size: int) -> Plan | None:
        """How an epoch goes through them; see `Inputs.plan`."""
        return self.inputs.plan(self.places, batch_size)

    def pixels(self, at_once: int = MEASURED_ROWS) -> Iterator[tuple[torch.Tensor]]:
        """The pixels of the rows that are meant, in order, some at a time."""
        for part in torch.split(self.places, at_once):
            yield (self.inputs.take(part),)


class Examples:
    """Implements `loop.Examples`: pixels, changed at random, and class numbers.

    Args:
        rows: what is learnt from.
        changes: names of the random changes; see `training.augmentation`.
        device: where the network is.
        has_channels_last: whether pixels are (n, height, width, channels).
    """

    def __init__(
        self,
        rows: ImageRows,
        changes: Sequence[str],
        device: torch.device,
        *,
        has_channels_last: bool = False,
    ) -> None:
        self._rows, self._changes, self._device = rows, changes, device
        self._has_channels_last = has_channels_last
        self._numbers = torch.from_numpy(rows.numbers)

    def __len__(self) -> int:
        return len(self._rows.places)

    def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `loop.Examples.batch`."""
        chosen = self._rows.places[places]
        pixels = self._rows.inputs.take(chosen)
        if self._changes and self._has_channels_last:
            pixels = changed(pixels.permute(0, 3, 1, 2), self._changes).permute(0, 2, 3, 1)
        elif self._changes:
            pixels = changed(pixels, self._changes)
        return pixels.to(self._device), self._numbers[chosen].to(self._device)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads splits through the graph; all have the same columns and classes.

    Attributes:
        input: the name of the graph's tensor.
        shape: of one row of it, or of what `after` makes of it.
    """

    data: TrainingData
    image: Column
    label: Column
    classes: Classes
    graph: ProcessingGraph
    input: str
    shape: Sequence[int]
    limit_bytes: int
    run: Run
    after: Callable[[Array], Array] | None = None

    def read(self, split: str) -> ImageRows:
        """All rows of a split.

        Raises:
            RowsInvalid: an image or label cannot be used; names its row.
            Cancelled: the run was stopped.
        """
        count = self.data.description.rows[split]
        inputs = Inputs(self.graph, self.input, self.shape, self.limit_bytes, self.after)
        numbers: Numbers = np.empty(count, dtype=np.int64)
        parts = self.data.parts(split)
        inputs.fill(
            lambda part, first: self._rows(split, part, first, numbers), parts, count, self.run
        )
        return ImageRows(inputs, numbers, torch.arange(count))

    def read_parts(self, splits: Splits) -> tuple[ImageRows, ImageRows]:
        """What is learnt from, and what is only measured on.

        Raises:
            RowsInvalid: see `read`; or all rows that are learnt from are of one class.
            Cancelled: the run was stopped.
        """
        learnt = self.read(splits.train)
        if splits.validation is not None:
            measured_on = self.read(splits.validation)
        else:
            places, held_out = held_out_places(len(learnt.places), splits.held_out, self.run.seed)
            measured_on = ImageRows(learnt.inputs, learnt.numbers, held_out)
            learnt = ImageRows(learnt.inputs, learnt.numbers, places)
        check_occurring(learnt.chosen, self.classes, splits.train)
        return learnt, measured_on

    def _rows(self, split: str, part: int, first: int, numbers: Numbers) -> Iterator[Rows]:
        names = [self.image.name, self.label.name]
        for batch in self.data.part(split, part, names, CHUNK):
            found = self.classes.numbers(batch.column(1), split, first)
            numbers[first : first + len(batch)] = found
            files = image_files(self.image, batch.column(0))
            yield Rows(split, first, [{ITEM: file} for file in files])
            first += len(batch)


def measuring(
    model: torch.nn.Module, rows: ImageRows, device: torch.device, at_once: int = MEASURED_ROWS
) -> Callable[[], Mapping[str, float]] | None:
    """What `fit` calls after every epoch; None when nothing is held out."""
    if len(rows.places) == 0:
        return None
    return lambda: measured(logits_over(model, rows.pixels(at_once), device), rows.chosen)
