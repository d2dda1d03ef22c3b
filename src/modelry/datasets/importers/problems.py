"""Rows that cannot be used, counted, the first of them named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import RowsInvalid

MAX_NAMED = 20
"""How many bad rows are named; a refusing import reads on until so many are found."""

_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that cannot be used.

    Attributes:
        file: the file's name.
        place: where in it: `row 17`, `entry cats/a.png`, `line 3`.
        reason: why not.
    """

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.reason}"


class Problems:
    """What an import found wrong.

    Args:
        skip: leave bad rows out and count them, instead of refusing the import.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[BadRow]] = {}
        self._notes: dict[str, str] = {}
        self._part = ""

    def begin(self, part: str) -> None:
        """What is told from now on belongs to `part`; what was told of it before is forgotten."""
        self._part = part
        self._counts[part] = 0
        self._first[part] = []

    def bad(self, file: str, place: str, reason: str) -> None:
        """A row that cannot be used.

        Raises:
            RowsInvalid: as many as are named were found, and the import is to refuse them.
        """
        self._counts[self._part] = self._counts.get(self._part, 0) + 1
        first = self._first.setdefault(self._part, [])
        if len(first) < MAX_NAMED:
            first.append(BadRow(_short(file), _short(place), _short(reason)))
        if not self.skip and len(first) >= MAX_NAMED:
            raise self._refusal()

    def note(self, key: str, message: str) -> None:
        """Something that people should know and that takes no row; the first one of `key` stays."""
        self._notes.setdefault(key, message)

    @property
    def count(self) -> int:
        """How many rows cannot be used."""
        return sum(self._counts.values())

    @property
    def first(self) -> list[BadRow]:
        """The first of them."""
        return [one for part in self._first.values() for one in part][:MAX_NAMED]

    @property
    def is_refused(self) -> bool:
        """Whether nothing may come of the import any more; `settle` will raise."""
        return not self.skip and self.count > 0

    def settle(self) -> None:
        """Say that a part was read to its end.

        Raises:
            RowsInvalid: there are bad rows, and the import is to refuse them.
        """
        if self.is_refused:
            raise self._refusal()

    def _refusal(self) -> RowsInvalid:
        named = self.first
        count = self.count
        more = "or more " if count >= MAX_NAMED else ""
        rows = "1 row" if count == 1 else f"{count} {more}rows"
        lines = "; ".join(str(one) for one in named)
        return RowsInvalid(
            f"{rows} cannot be used: {lines}. Mend the data, or import with on_bad_rows=skip to "
            "leave such rows out."
        )

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "skipped_rows": self.count,
            "first_skipped": [
                {"file": one.file, "place": one.place, "reason": one.reason} for one in self.first
            ],
            "notes": list(self._notes.values()),
        }


def _short(text: str) -> str:
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain if len(plain) <= _MAX_TEXT else plain[: _MAX_TEXT - 1] + "…"
