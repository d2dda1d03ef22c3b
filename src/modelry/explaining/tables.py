"""Rows of tables in parts: columns, taken away by cells that stand for what is usual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.contract import Attribution
from modelry.runtime_api.tensors import Array

MOST_BACKGROUND = 200
MOST_CELLS = 2_000_000
"""Of the rows that are read to find where each column lies in the engine's inputs."""
NOISE = 0.05
"""Of the standard deviation of a column's cells, for stability."""
Prepare = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Array]]


class RowParts:
    """A row in columns; a part that is away has the cells of each background row in turn.

    Args:
        item: as it was sent.
        background: other rows, as in requests.
        prepare: makes the engine's inputs of items.
        columns: the columns' names, in the model's order.
    """

    def __init__(
        self,
        item: Mapping[str, Any],
        background: Sequence[Any],
        prepare: Prepare,
        columns: Sequence[str],
    ) -> None:
        if not 1 <= len(background) <= MOST_BACKGROUND:
            raise InvalidInput(
                f"background has {len(background)} rows; send 1 to {MOST_BACKGROUND} rows that "
                "stand for what is usual, such as a sample of the rows the model was trained on.",
                param="background",
            )
        if len(columns) ** 2 * len(background) > MOST_CELLS:
            raise InvalidInput(
                f"{len(columns)} columns with {len(background)} background rows are too much to "
                f"explain; send at most {max(1, MOST_CELLS // len(columns) ** 2)} rows.",
                param="background",
            )
        self._prepare = prepare
        self.columns = list(columns)
        self._cells = _named(item["row"], self.columns)
        self._others = [_named(row, self.columns) for row in background]
        self._row = prepare([{"row": self._cells}])
        self._usual = prepare([{"row": one} for one in self._others])
        self._places = [self._places_of(name) for name in self.columns]
        self.repeats = len(background)
        self.baseline = f"the cells of {len(background)} background rows"

    @property
    def count(self) -> int:
        """How many columns there are."""
        return len(self.columns)

    def inputs(self, presences: Array) -> Mapping[str, Array]:
        """The engine's inputs for presences (n, columns): n times `repeats` rows."""
        away = presences < 0.5
        made: dict[str, Array] = {}
        for name, row in self._row.items():
            usual = self._usual[name]
            shape = (len(presences), len(usual), *row.shape[1:])
            values = np.broadcast_to(row, shape).reshape(len(presences), len(usual), -1).copy()
            flat = usual.reshape(len(usual), -1)
            for column, places in enumerate(self._places):
                for place in places.get(name, ()):
                    values[:, :, place] = np.where(
                        away[:, column, None], flat[None, :, place], values[:, :, place]
                    )
            made[name] = values.reshape(-1, *row.shape[1:])
        return made

    def noisy(self, random: np.random.Generator) -> RowParts:
        """The same row with numbers moved a little, as their columns spread."""
        other = object.__new__(RowParts)
        other.__dict__.update(self.__dict__)
        cells = dict(self._cells)
        for name, value in cells.items():
            if isinstance(value, float):
                spread = float(np.std([one[name] or 0.0 for one in self._others]))
                cells[name] = value + random.normal(0, NOISE * spread)
        other._cells = cells
        other._row = self._prepare([{"row": cells}])
        return other

    def described(self, attribution: Attribution) -> dict[str, Any]:
        """The weights by column."""
        return {
            "kind": "table",
            "columns": [
                {"name": name, "value": self._cells[name], "weight": float(weight)}
                for name, weight in zip(self.columns, attribution.weights, strict=True)
            ],
        }

    def gathered(self, values: Mapping[str, Array]) -> Array:
        """Sums by column (columns,) of numbers for each number of the engine's inputs (1, …)."""
        flat = {name: one.reshape(-1) for name, one in values.items()}
        return np.array(
            [
                sum(
                    float(flat[name][at])
                    for name, found in places.items()
                    if name in flat
                    for at in found
                )
                for places in self._places
            ]
        )

    def _places_of(self, column: str) -> Mapping[str, list[int]]:
        """Where a column lies in the engine's inputs: what changes when its cell does.

        A column whose cell is the same in all background rows has no place, and does nothing.
        """
        moved = self._prepare(
            [{"row": {**self._cells, column: other[column]}} for other in self._others]
        )
        found: dict[str, list[int]] = {}
        for name, array in moved.items():
            differs = (array != self._row[name]) & ~(_is_nan(array) & _is_nan(self._row[name]))
            changed = differs.reshape(len(array), -1).any(axis=0)
            if changed.any():
                found[name] = np.flatnonzero(changed).tolist()
        return found


def _is_nan(array: Array) -> Array:
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)


def _named(row: Any, columns: Sequence[str]) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return {name: row.get(name) for name in columns}
    if isinstance(row, list) and len(row) == len(columns):
        return dict(zip(columns, row, strict=True))
    raise NotSupported(
        f"A row must be an object or a list of {len(columns)} cells.", param="background"
    )
