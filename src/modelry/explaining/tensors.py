"""Raw tensors in parts: what an engine itself takes, without the processing before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.contract import BASELINE, OUTPUT, TENSORS, Attribution
from modelry.explaining.smoothing import even_weights
from modelry.processing.values import Context, Detections
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Answer, Predictor, Prepared

MOST_PARTS = 256
MOST_CELLS = 16
"""Cells along the longer side of what looks like an image."""
NOISE = 0.02
"""Standard deviation of the noise for stability, of that of a tensor's values."""
_CHANNELS = (1, 3, 4)

Tensors = dict[str, Array]


class TensorPredictor:
    """Takes tensors for items; scores as the steps after the engine rank, if there are any.

    Args:
        inner: the version's processing; None where it has none.
    """

    def __init__(self, inner: Predictor | None) -> None:
        self._inner = inner
        self._output = ""

    def before(self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prepared:
        """See `Predictor.before`."""
        (item,) = items
        context = Context(1)
        self._output = item[OUTPUT]
        return Prepared(item[TENSORS], 1, context, options, {"items": 1})

    def parts(self, prepared: Prepared, most: int) -> Iterator[Prepared]:
        """See `Predictor.parts`."""
        del most
        yield prepared

    def after(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Answer:
        """Tensors are not rendered."""
        del prepared, outputs
        raise NotSupported("Raw tensors have no results but tensors.")

    @property
    def labels(self) -> Sequence[str] | None:
        """See `Predictor.labels`."""
        return None if self._inner is None or self._output else self._inner.labels

    @property
    def column_places(self) -> None:
        """Tensors come from no columns."""

    @property
    def finds_objects(self) -> bool:
        """Tensors hold no objects."""
        return False

    def objects(
        self, prepared: Prepared, outputs: Mapping[str, Array], least_score: float | None = None
    ) -> Detections:
        """See `Predictor.objects`."""
        del prepared, outputs, least_score
        raise NotSupported("Raw tensors hold no objects.")

    def scores(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Array:
        """See `Predictor.scores`."""
        if self._inner is not None and not self._output:
            return self._inner.scores(prepared, outputs)
        name = self._output or next(iter(outputs))
        if name not in outputs:
            raise InvalidInput(
                f"There is no output '{name[:80]}'; there are: {', '.join(outputs)}.", param=OUTPUT
            )
        found = outputs[name]
        if found.dtype.kind not in "fiu" or found.shape[:1] != (prepared.count,):
            raise NotSupported(
                f"Output '{name[:80]}' is no row of numbers for each input; name another one with "
                f"the parameter {OUTPUT}.",
                param=OUTPUT,
            )
        flat: Array = found.reshape(len(found), -1).astype(np.float64)
        return flat


class TensorParts:
    """Tensors of one row; a part that is away has the baseline's number everywhere.

    Tensors of integers whose rows have the same shape of several numbers (tokens and their mask)
    go together, place by place. What looks like an image is cut into cells, all channels together.
    Of other tensors each number is a part, or runs of neighbours where there are more than
    `MOST_PARTS`.

    Args:
        prepared: the tensors.
        baseline: the number.

    Raises:
        NotSupported: a tensor holds texts.
        InvalidInput: the number is none that a tensor can hold.
    """

    def __init__(self, prepared: Prepared, baseline: float) -> None:
        self._arrays = {name: np.asarray(array) for name, array in prepared.inputs.items()}
        for name, array in self._arrays.items():
            if array.dtype.kind not in "fiub" or array.size == 0:
                raise NotSupported(
                    f"Tensor '{name[:80]}' has no numbers that could be taken away.", param=name
                )
        self._away = {name: _away(name, one, baseline) for name, one in self._arrays.items()}
        self._groups: dict[str, Array] = {}
        self._names: list[str] = []
        self._extents: list[int | tuple[int, int]] = []
        shared: dict[tuple[int, ...], Array] = {}
        most = max(1, MOST_PARTS // len(self._arrays))
        for name, array in self._arrays.items():
            shape = array.shape[1:]
            goes_along = array.dtype.kind in "iu" and array.size > 1
            if goes_along and shape in shared:
                self._groups[name] = shared[shape]
                continue
            groups, names = _grouped(shape, most)
            self._groups[name] = groups + len(self._names)
            self._names += [f"{name}{one}" for one in names]
            pixels = _pixels(shape)
            self._extents.append(len(names) if pixels is None else _grid(shape, pixels)[1:])
            if goes_along:
                shared[shape] = self._groups[name]
        self.repeats = 1
        self.baseline = f"the number {baseline:g}"

    @property
    def count(self) -> int:
        """How many parts there are."""
        return len(self._names)

    def inputs(self, presences: Array) -> Mapping[str, Array]:
        """The engine's inputs for presences (n, parts)."""
        made: dict[str, Array] = {}
        for name, array in self._arrays.items():
            is_there = (presences >= 0.5)[:, self._groups[name].reshape(-1)]
            # chosen, not calculated: large whole numbers, and those that are infinite, stay so
            chosen = np.where(is_there, array.reshape(1, -1), self._away[name])
            made[name] = chosen.reshape(len(presences), *array.shape[1:])
        return made

    def noisy(self, random: np.random.Generator) -> TensorParts | None:
        """The same tensors with a little noise on those of fractions; None where none are."""
        moved = {
            name: (array + random.normal(0, NOISE * float(array.std()), array.shape)).astype(
                array.dtype
            )
            for name, array in self._arrays.items()
            if array.dtype.kind == "f"
        }
        if not moved:
            return None
        other = object.__new__(TensorParts)
        other.__dict__.update(self.__dict__)
        other._arrays = {**self._arrays, **moved}
        return other

    def guess(self, random: np.random.Generator) -> Array:
        """See `Parts.guess`; cells of what looks like an image are like their neighbours."""
        return np.concatenate(
            [
                random.random(extent) if isinstance(extent, int) else even_weights(extent, random)
                for extent in self._extents
            ]
        )

    def described(self, attribution: Attribution) -> dict[str, Any]:
        """The weights by part, and as `arrays` of the tensors' own shapes.

        Each number of a tensor has the weight of the part that it lies in.
        """
        weights = attribution.weights.astype(np.float64)
        return {
            "kind": "tensors",
            "parts": [
                {"name": name, "weight": float(weight)}
                for name, weight in zip(self._names, weights, strict=True)
            ],
            "arrays": {
                name: weights[self._groups[name].reshape(array.shape)]
                for name, array in self._arrays.items()
            },
        }


def _away(name: str, array: Array, baseline: float) -> Array:
    """The number of a tensor's own type.

    Raises:
        InvalidInput: it can be none.
    """
    if array.dtype.kind == "b":
        return np.array(round(baseline) != 0)
    is_whole = array.dtype.kind in "iu"
    value: float = round(baseline) if is_whole else baseline
    bounds = np.iinfo(array.dtype) if is_whole else np.finfo(array.dtype)
    least, most = (one if is_whole else float(one) for one in (bounds.min, bounds.max))
    if not least <= value <= most:
        raise InvalidInput(
            f"{BASELINE} is {baseline:g}; tensor '{name[:80]}' holds {array.dtype}, of "
            f"{least} to {most}.",
            param=BASELINE,
        )
    return np.array(value, array.dtype)


def row_of(inputs: Mapping[str, Array], row: int) -> dict[str, Array]:
    """One row of tensors as tensors of one row."""
    return {name: array[row : row + 1] for name, array in inputs.items()}


def _grouped(shape: tuple[int, ...], most: int) -> tuple[Array, list[str]]:
    """Which part each number of a row lies in, and what the parts are called."""
    pixels = _pixels(shape)
    if pixels is not None:
        return _cells(shape, pixels)
    size = math.prod(shape)
    run = -(-size // most)
    groups = (np.arange(size) // run).reshape(shape or (1,))
    if run > 1 or len(shape) != 1:
        names = [f"[{at * run}:{min(size, (at + 1) * run)}]" for at in range(-(-size // run))]
        return groups, names if len(shape) <= 1 else [f".flat{one}" for one in names]
    return groups, [f"[{at}]" for at in range(size)]


def _pixels(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Which dimensions are height and width, None where it looks like no image."""
    if len(shape) != 3 or min(shape) < 1:
        return None
    if shape[0] in _CHANNELS and min(shape[1:]) > 4:
        return 1, 2
    return (0, 1) if shape[2] in _CHANNELS and min(shape[:2]) > 4 else None


def _grid(shape: tuple[int, ...], pixels: tuple[int, int]) -> tuple[int, int, int]:
    """The side of a cell, and how many rows and columns of cells there are."""
    height, width = (shape[axis] for axis in pixels)
    side = -(-max(height, width) // MOST_CELLS)
    return side, -(-height // side), -(-width // side)


def _cells(shape: tuple[int, ...], pixels: tuple[int, int]) -> tuple[Array, list[str]]:
    height, width = (shape[axis] for axis in pixels)
    side, rows, columns = _grid(shape, pixels)
    cells = (np.arange(height) // side)[:, None] * columns + np.arange(width) // side
    wide = [1] * len(shape)
    wide[pixels[0]], wide[pixels[1]] = height, width
    groups = np.broadcast_to(cells.reshape(wide), shape)
    names = [
        f"[{row * side}:{min(height, (row + 1) * side)}, "
        f"{column * side}:{min(width, (column + 1) * side)}]"
        for row in range(rows)
        for column in range(columns)
    ]
    return groups, names


def joined(rows: Sequence[Mapping[str, Any]], arrays: Sequence[Mapping[str, Array]]) -> Tensors:
    """Explanations of rows as output tensors.

    Args:
        rows: what is told of each row.
        arrays: the weights of each row, by input.
    """
    targets = [one["target"] for one in rows]
    found: Tensors = {
        f"attributions.{name}": np.concatenate([one[name] for one in arrays]) for name in arrays[0]
    }
    found["target"] = np.array([one["index"] for one in targets], np.int64)
    found["score"] = np.array([one["score"] for one in targets], np.float64)
    if all(one["label"] is not None for one in targets):
        labels = np.empty(len(targets), object)
        labels[:] = [str(one["label"]).encode() for one in targets]
        found["label"] = labels
    checked = [one["faithfulness"] for one in rows]
    if all(one is not None for one in checked):
        found["is_better_than_random"] = np.array([one["is_better_than_random"] for one in checked])
    return found
