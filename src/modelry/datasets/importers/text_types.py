"""Columns of text cells: which type all of their values are of, and the values as that type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from modelry.domain.datasets import ColumnType

MAX_EXACT = 2**53
"""Whole numbers beyond it are not kept exactly as numbers with a fraction."""

_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)$"
_PADDED = r"^[+-]?0[0-9xX]"
_ORDER = (ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.BOOLEAN, ColumnType.TIME)
_MANY = 100


class Values:
    """Gives cells as values.

    Args:
        null_words: what stands for a missing value where the column is not text.
    """

    def __init__(self, null_words: Sequence[str]) -> None:
        self._nulls = pa.array(["", *null_words], pa.utf8())
        self._readers: dict[ColumnType, Callable[[pa.Array], pa.Array]] = {
            ColumnType.INTEGER: _integers,
            ColumnType.NUMBER: lambda cells: cells.cast(pa.float64()),
            ColumnType.BOOLEAN: _truths,
            ColumnType.TIME: _times,
        }

    def trimmed(self, cells: pa.Array) -> pa.Array:
        """Cells without spaces around them, null where they stand for a missing value."""
        plain = pc.utf8_trim_whitespace(cells)
        missing = pc.is_in(plain, value_set=self._nulls)
        return pc.if_else(missing, pa.scalar(None, pa.utf8()), plain)

    def read(self, cells: pa.Array, kind: ColumnType) -> pa.Array:
        """The cells as `kind`.

        Raises:
            pyarrow.ArrowInvalid: one of them is no such value.
        """
        if kind is ColumnType.TEXT:
            return cells
        return self._readers[kind](self.trimmed(cells))

    def fits(self, cells: pa.Array, kind: ColumnType) -> bool:
        """Whether all of the cells, trimmed already, are of `kind`."""
        try:
            self._readers[kind](cells)
        except pa.ArrowInvalid:
            return False
        return True

    def unfit(self, cells: pa.Array, kind: ColumnType) -> list[int]:
        """The places of cells that are not of `kind`."""
        if kind is ColumnType.TEXT:
            return []
        return self._unfit(self.trimmed(cells), kind, 0)

    def _unfit(self, cells: pa.Array, kind: ColumnType, start: int) -> list[int]:
        if self.fits(cells, kind):
            return []
        if len(cells) == 1:
            return [start]
        half = len(cells) // 2
        return self._unfit(cells[:half], kind, start) + self._unfit(
            cells[half:], kind, start + half
        )


class TypeGuess:
    """Finds the narrowest type of all cells of a column.

    Args:
        values: reads cells.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._left = list(_ORDER)
        self._seen = 0
        self._is_any_empty = False
        self._is_any_null = False
        self.surprise: tuple[ColumnType, int, str] | None = None
        """The type that many cells were of, at which place it ended, and the cell that ended it."""

    def add(self, cells: pa.Array) -> None:
        """Take some cells, in order."""
        self._is_any_empty = self._is_any_empty or cells.null_count > 0
        if not self._left and self._is_any_null:
            return
        trimmed = self._values.trimmed(cells)
        self._is_any_null = self._is_any_null or trimmed.null_count > 0
        filled = len(trimmed) - trimmed.null_count
        if filled and self._left:
            before = self._left
            self._left = self._fitting(trimmed)
            if not self._left:
                self._surprise(before, trimmed)
        self._seen += len(cells)

    @property
    def kind(self) -> ColumnType:
        """The type."""
        is_told = self._left and self._left != list(_ORDER)
        return self._left[0] if is_told else ColumnType.TEXT

    def is_nullable_as(self, kind: ColumnType) -> bool:
        """Whether cells are missing when the column is read as `kind`."""
        return self._is_any_empty if kind is ColumnType.TEXT else self._is_any_null

    def _fitting(self, cells: pa.Array) -> list[ColumnType]:
        left = list(self._left)
        if ColumnType.INTEGER in left:
            if self._values.fits(cells, ColumnType.INTEGER) and not _any(cells, _PADDED):
                numbers = _integers(cells)
                bounds = pc.min_max(numbers).as_py()
                is_exact = max(abs(bounds["min"]), abs(bounds["max"])) <= MAX_EXACT
                numeric = [ColumnType.INTEGER, ColumnType.NUMBER]
                return [one for one in numeric if one in left and (is_exact or one is numeric[0])]
            left.remove(ColumnType.INTEGER)
        return [one for one in left if self._values.fits(cells, one) and self._is_meant(cells, one)]

    def _is_meant(self, cells: pa.Array, kind: ColumnType) -> bool:
        """Codes such as 007 and numbers of 20 digits are no quantities."""
        return kind is not ColumnType.NUMBER or not _any(cells, _PADDED + r"|^[+-]?\d{16,}$")

    def _surprise(self, kinds: Sequence[ColumnType], cells: pa.Array) -> None:
        """Remember where values stopped to be of the one of `kinds` that went furthest."""
        places = {one: self._first_unfit(cells, one) for one in kinds}
        kind = max(places, key=lambda one: places[one])
        place = places[kind]
        if place < len(cells) and self._seen + place >= _MANY:
            self.surprise = (kind, self._seen + place, cells[place].as_py())

    def _first_unfit(self, cells: pa.Array, kind: ColumnType) -> int:
        low, high = 0, len(cells)
        while low < high:
            middle = (low + high) // 2
            if self._values.fits(cells[low : middle + 1], kind):
                low = middle + 1
            else:
                high = middle
        return low


def _any(cells: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(cells, pattern)).as_py())


def _integers(cells: pa.Array) -> pa.Array:
    plain = pc.replace_substring_regex(cells, r"^\+", "") if _any(cells, r"^\+") else cells
    if _any(plain, r"[xX]"):
        raise pa.ArrowInvalid("a hexadecimal number")
    return plain.cast(pa.int64())


def _truths(cells: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(cells)
    is_true = pc.equal(lower, "true")
    if not pc.all(pc.or_(is_true, pc.equal(lower, "false"))).as_py():
        raise pa.ArrowInvalid("neither true nor false")
    return is_true


def _times(cells: pa.Array) -> pa.Array:
    """ISO 8601; without a zone they are taken for UTC."""
    zoned = pc.match_substring_regex(cells, _ZONE)
    has_time = pc.match_substring_regex(cells, r"\d[ T]\d")
    zoned = pc.and_(zoned, has_time)
    nothing = pa.scalar(None, pa.utf8())
    utc = pa.timestamp("us", "UTC")
    with_zone = pc.if_else(zoned, cells, nothing).cast(utc)
    without = pc.if_else(zoned, nothing, cells).cast(pa.timestamp("us")).cast(utc)
    return pc.coalesce(with_zone, without)
