"""Rows that a first pass found to be bad, so that a second one leaves them out."""

from __future__ import annotations

from array import array
from bisect import bisect_left


class BadPlaces:
    """Places of rows in files, 8 bytes each."""

    def __init__(self) -> None:
        self._places: dict[str, array[int]] = {}

    def add(self, file: str, place: int) -> None:
        """Remember a row; told in order of its places, once or several times."""
        places = self._places.setdefault(file, array("q"))
        if not places or places[-1] != place:
            places.append(place)

    def within(self, file: str, start: int, end: int) -> list[int]:
        """The places from `start` up to `end`."""
        places = self._places.get(file, array("q"))
        return list(places[bisect_left(places, start) : bisect_left(places, end)])
