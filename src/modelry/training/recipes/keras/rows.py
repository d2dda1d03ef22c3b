"""Rows of a dataset as arrays that a Keras model takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from modelry.domain.errors import Cancelled, InvalidInput
from modelry.processing.graph import ProcessingGraph
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Run, TrainingData
from modelry.training.recipes.keras.arrays import (
    Reader,
    input_shape,
    input_type,
    joined,
    slices,
    target_shape,
    target_type,
)
from modelry.training.recipes.keras.slots import Binding
from modelry.training.streaming import PartCache, Places, Placing, parts_at_once

MAX_BYTES = 6 * 2**30
"""Of arrays in memory; inputs beyond it are read again in every epoch."""


@dataclass(slots=True)
class Rows:
    """Some rows: an array per input and per output of the model, and what each row counts.

    `dtypes` are those that the model's inputs take.
    """

    inputs: list[Array]
    targets: list[Array]
    weights: Array | None
    dtypes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, at: Any) -> Rows:
        """Those of a slice or of an array of indexes."""
        return Rows(
            [one[at] for one in self.inputs],
            [one[at] for one in self.targets],
            None if self.weights is None else self.weights[at],
            self.dtypes,
        )

    def chosen(self, places: Array) -> Rows:
        """These alone from now on."""
        return self.take(places)

    def order(self, random: np.random.Generator) -> Array:
        """An order for an epoch."""
        return random.permutation(len(self))


@dataclass(slots=True)
class FarRows:
    """The same where inputs do not fit into memory: they are read again, part by part.

    Attributes:
        places: of the rows that are meant, in the split.
        targets: theirs.
        weights: theirs.
        dtypes: those that the model's inputs take.
        parts: inputs of each part.
        placing: which row is in which part.
        at_once: how many parts' rows an epoch mixes.
    """

    places: Places
    targets: list[Array]
    weights: Array | None
    dtypes: tuple[str, ...]
    parts: PartCache[list[Array]]
    placing: Placing
    at_once: int

    def __len__(self) -> int:
        return len(self.places)

    def take(self, at: Any) -> Rows:
        """Those of a slice or of an array of indexes, in memory."""
        places = self.places[at]
        inputs: list[Array] = []
        for number, among, within in self.placing.split(places):
            held = self.parts.get(number)
            if not inputs:
                inputs = [np.empty((len(places), *one.shape[1:]), one.dtype) for one in held]
            for whole, one in zip(inputs, held, strict=True):
                whole[among] = one[within]
        return Rows(
            inputs,
            [one[at] for one in self.targets],
            None if self.weights is None else self.weights[at],
            self.dtypes,
        )

    def chosen(self, places: Array) -> FarRows:
        """These alone from now on."""
        return replace(
            self,
            places=self.places[places],
            targets=[one[places] for one in self.targets],
            weights=None if self.weights is None else self.weights[places],
        )

    def order(self, random: np.random.Generator) -> Array:
        """An order for an epoch in which each part is read about once."""
        parts = self.placing.parts_of(self.places)
        numbers = random.permutation(np.unique(parts))
        windows = (numbers[at] for at in slices(len(numbers), self.at_once))
        mixed = [random.permutation(np.flatnonzero(np.isin(parts, one))) for one in windows]
        return np.concatenate(mixed)


def read_rows(
    data: TrainingData, split: str, binding: Binding, graph: ProcessingGraph | None, run: Run
) -> Rows | FarRows:
    """All rows of a split; image files go through `graph`, as they will when it is served.

    Numbers stay in the type in which they are kept (8-bit pixels take a quarter of what floats
    would) and become the model's own batch by batch.

    Raises:
        RowsInvalid: values are missing, no finite numbers, or of no class of the model.
        InvalidInput: targets that do not fit into memory.
        Cancelled: the run was stopped.
    """
    count = data.description.rows[split]
    inputs = [_Filler(input_shape(one), input_type(one), count) for one in binding.feeds]
    targets = [_Filler(target_shape(one), target_type(one), count) for one in binding.targets]
    weights = [] if binding.weight is None else [_Filler((), "float32", count)]
    is_far = _size(inputs) + _check_targets(targets, data.description.ref, split) > MAX_BYTES
    reader = _Counted(Reader(data, split, binding, graph), run, count)
    for number in range(data.parts(split)):
        batches = reader.read(number, targets, weights)
        if is_far:
            reader.keep(number, joined(list(batches)))
        else:
            for batch in batches:
                _add(inputs, batch)
    held = [one.done() for one in targets], weights[0].done() if weights else None
    dtypes = tuple(one.slot.dtype for one in binding.feeds)
    if is_far:
        return reader.far(*held, dtypes)
    return Rows([one.done() for one in inputs], *held, dtypes)


class _Counted:
    """Reads part after part, and those that are asked for again."""

    def __init__(self, reader: Reader, run: Run, count: int) -> None:
        self._reader, self._run, self._count = reader, run, count
        self._counts: list[int] = []
        self._sizes: list[int] = []
        self._placing = Placing([])
        self._parts = PartCache[list[Array]](self._again, _bytes_of, MAX_BYTES)

    def read(
        self, number: int, targets: list[_Filler], weights: list[_Filler]
    ) -> Iterator[list[Array]]:
        """The inputs of a part, batch by batch; targets and weights are added to what there is."""
        first = done = sum(self._counts)
        for columns, place in self._reader.batches(number, first):
            if self._run.stop.is_set():
                raise Cancelled("The run was stopped while it read rows.")
            made = self._reader.inputs(columns, place)
            _add(targets, self._reader.targets(columns, place))
            told = self._reader.weights(columns, place)
            _add(weights, [] if told is None else [told])
            done += len(made[0])
            self._run.progress(done, self._count, "rows", f"reading {place.split}")
            yield made
        self._counts.append(done - first)

    def keep(self, number: int, inputs: list[Array]) -> None:
        """Hold a part as long as there is room."""
        self._sizes.append(_bytes_of(inputs))
        self._parts.put(number, inputs)

    def far(self, targets: list[Array], weights: Array | None, dtypes: tuple[str, ...]) -> FarRows:
        """The rows of all parts."""
        self._placing = Placing(self._counts)
        self._run.log(
            f"{self._count} rows are {sum(self._sizes) / 2**20:.0f} MiB as arrays, over the limit "
            f"of {MAX_BYTES / 2**20:.0f}: they are read anew in every epoch"
        )
        return FarRows(
            np.arange(sum(self._counts)),
            targets,
            weights,
            dtypes,
            self._parts,
            self._placing,
            parts_at_once(self._sizes, MAX_BYTES),
        )

    def _again(self, number: int) -> list[Array]:
        return self._reader.part(number, int(self._placing.starts[number]))


class _Filler:
    """An array that is filled from its beginning."""

    def __init__(self, shape: tuple[int, ...], dtype: str, count: int) -> None:
        self.size_bytes = prod(shape) * np.dtype(dtype).itemsize * count
        self._shape, self._dtype, self._count = shape, dtype, count
        self._array: Array | None = None
        self._at = 0

    def add(self, values: Array) -> None:
        if self._array is None:
            self._array = np.empty((self._count, *self._shape), self._dtype)
        self._array[self._at : self._at + len(values)] = values
        self._at += len(values)

    def done(self) -> Array:
        if self._array is None:
            return np.empty((0, *self._shape), self._dtype)
        return self._array[: self._at]


def _add(fillers: list[_Filler], arrays: list[Array]) -> None:
    for filler, one in zip(fillers, arrays, strict=True):
        filler.add(one)


def _bytes_of(arrays: list[Array]) -> int:
    return sum(one.nbytes for one in arrays)


def _size(fillers: list[_Filler]) -> int:
    return sum(one.size_bytes for one in fillers)


def _check_targets(targets: list[_Filler], ref: str, split: str) -> int:
    size = _size(targets)
    if size > MAX_BYTES:
        raise InvalidInput(
            f"What the model is to answer for the split '{split}' of {ref} takes "
            f"{size / 2**30:.1f} GiB; the recipe 'keras' keeps it in memory, at most "
            f"{MAX_BYTES / 2**30:.0f} GiB. Derive a smaller version.",
            param="dataset",
        )
    return size
