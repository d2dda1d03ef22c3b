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
"""Of all rows that are read: those of the background, and some for each column."""
_PROBES = 3
"""Cells that are tried to find where a column lies, at most."""
NOISE = 0.05
"""Of the standard deviation of a column's cells, for stability."""
Prepare = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Array]]


def check_background(background: Sequence[Any]) -> None:
    """Refuse no background rows, and too many.

    Raises:
        InvalidInput: there are so.
    """
    if not 1 <= len(background) <= MOST_BACKGROUND:
        raise InvalidInput(
            f"background has {len(background)} rows; send 1 to {MOST_BACKGROUND} rows that "
            "stand for what is usual, such as a sample of the rows the model was trained on.",
            param="background",
        )


def fitting_background(rows: Sequence[Any], columns: Sequence[str]) -> tuple[Any, ...]:
    """As many of a version's own rows as can be used at once; they are in random order."""
    most = MOST_CELLS // max(1, len(columns)) - _PROBES * len(columns)
    return tuple(rows[: min(MOST_BACKGROUND, max(1, most))])


class RowParts:
    """A row in columns; a part that is away has the cells of each background row in turn.

    Args:
        item: as it was sent.
        background: other rows, as in requests.
        prepare: makes the engine's inputs of items.
        columns: the columns' names, in the model's order.
        places: for each number of the engine's inputs the column that it comes from; None where
            that is not known, and is found by changing one cell after the other.
    """

    def __init__(
        self,
        item: Mapping[str, Any],
        background: Sequence[Any],
        prepare: Prepare,
        columns: Sequence[str],
        places: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        check_background(background)
        cells = len(columns) * (_PROBES * len(columns) + len(background))
        if cells > MOST_CELLS:
            raise NotSupported(
                f"A table of {len(columns)} columns is too wide to be explained with "
                f"{len(background)} background rows: that takes {cells} cells, and at most "
                f"{MOST_CELLS} are read.",
                param="background",
            )
        self._prepare = prepare
        self.columns = list(columns)
        self._cells = named_cells(item["row"], self.columns)
        self._others = [named_cells(row, self.columns) for row in background]
        self._row = prepare([{"row": self._cells}])
        self._usual = prepare([{"row": one} for one in self._others])
        self._places: Mapping[str, _Owned | _Changed] = (
            {name: _Changed(one) for name, one in self._changes().items()}
            if places is None
            else {name: _Owned(self.count, places[name]) for name in self._row}
        )
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
            is_usual = self._places[name].moved(away)
            # as wide as all rows together: numpy is slow along short dimensions
            wide = np.repeat(is_usual[:, None], self.repeats, axis=1).reshape(len(away), -1)
            usual, own = self._usual[name].reshape(1, -1), np.tile(row.reshape(1, -1), self.repeats)
            made[name] = np.where(wide, usual, own).reshape(-1, *row.shape[1:])
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

    def guess(self, random: np.random.Generator) -> Array:
        """See `Parts.guess`; columns have no neighbours that belong together."""
        return random.random(self.count)

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
        sums = np.zeros(self.count)
        for name, one in values.items():
            sums += self._places[name].gathered(one.reshape(-1).astype(np.float64))
        return sums

    def _changes(self) -> Mapping[str, Array]:
        """Where each column lies in the engine's inputs (columns, numbers of an input): 1 there.

        That is what changes when its cell becomes another one of the background. A column whose
        cell is the same in all background rows has no place, and does nothing.
        """
        probes = [(at, cell) for at in range(self.count) for cell in self._unlike(self.columns[at])]
        found = {
            name: np.zeros((self.count, row.size), np.float32) for name, row in self._row.items()
        }
        if probes:
            moved = self._prepare(
                [{"row": {**self._cells, self.columns[at]: cell}} for at, cell in probes]
            )
            for name, places in found.items():
                differs = _differs(moved[name], self._row[name]).reshape(len(probes), -1)
                np.maximum.at(places, [at for at, _ in probes], differs.astype(np.float32))
        return found

    def _unlike(self, column: str) -> list[Any]:
        """Cells of the background that differ from the row's: the extremes of numbers, and some."""
        mine = self._cells[column]
        others = [one[column] for one in self._others if one[column] != mine]
        numbers = [one for one in others if isinstance(one, int | float)]
        rest = [one for one in others if not isinstance(one, int | float)]
        extremes = {min(numbers), max(numbers)} if numbers else set()
        return [*extremes, *rest][:_PROBES]


class _Owned:
    """Numbers of an input each of which comes from one column, by its place (numbers,)."""

    def __init__(self, columns: int, owners: Sequence[int]) -> None:
        self._columns = columns
        self._owners = np.asarray(owners)

    def moved(self, away: Array) -> Array:
        """Which numbers are others where columns are away (n, columns): (n, numbers)."""
        found: Array = away[:, self._owners]
        return found

    def gathered(self, values: Array) -> Array:
        """Sums by column (columns,) of values of the numbers."""
        return np.bincount(self._owners, values, self._columns)


class _Changed:
    """Numbers of an input by the columns whose cells change them (columns, numbers): 1 there."""

    def __init__(self, moves: Array) -> None:
        self._moves = moves

    def moved(self, away: Array) -> Array:
        """See `_Owned.moved`."""
        found: Array = away.astype(np.float32) @ self._moves > 0
        return found

    def gathered(self, values: Array) -> Array:
        """See `_Owned.gathered`."""
        sums: Array = self._moves.astype(np.float64) @ values
        return sums


def _differs(array: Array, other: Array) -> Array:
    """Where arrays differ; not a number is as good as itself."""
    different: Array = array != other
    if array.dtype.kind == "f":
        different &= ~(np.isnan(array) & np.isnan(other))
    return different


def named_cells(row: Any, columns: Sequence[str]) -> dict[str, Any]:
    """The cells of a row by column.

    Raises:
        NotSupported: it is neither an object nor a list of as many cells.
    """
    if isinstance(row, Mapping):
        return {name: row.get(name) for name in columns}
    if isinstance(row, list) and len(row) == len(columns):
        return dict(zip(columns, row, strict=True))
    raise NotSupported(
        f"A row must be an object or a list of {len(columns)} cells.", param="background"
    )
