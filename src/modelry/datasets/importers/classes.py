"""Labels as classes: which there are, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelry.datasets.importers.options import MAX_CLASSES
from modelry.domain.errors import InvalidInput

MAX_GUESSED_CLASSES = 1000
"""Whole numbers of more different values are taken for quantities."""


class NumberClasses:
    """The different whole numbers of a label, collected batch by batch."""

    def __init__(self) -> None:
        self._values: set[int] = set()
        self.is_too_many = False

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take some labels."""
        if self.is_too_many:
            return
        self._values.update(int(one) for one in np.unique(values))
        if len(self._values) > MAX_CLASSES:
            self.is_too_many = True
            self._values.clear()

    def are_classes(self, said: str | None) -> bool:
        """Whether the label names classes, as the request says or else by its values.

        Raises:
            InvalidInput: it is said to be classes, and there are too many.
        """
        if said == "classes" and self.is_too_many:
            raise InvalidInput(
                f"The label has more than {MAX_CLASSES} different values; so many classes are not "
                "kept. Import it with labels=numbers.",
                param="labels",
            )
        if said is not None:
            return said == "classes"
        return not self.is_too_many and len(self._values) <= MAX_GUESSED_CLASSES

    def numbers(self) -> list[int]:
        """The number of each class.

        They count from 0 on where they do so with few gaps, as outputs of a network do: then
        class 3 is the fourth, whether rows have it or not. Else they are the values themselves.
        """
        values = sorted(self._values)
        if values and values[0] >= 0 and values[-1] < 2 * len(values) + 10:
            return list(range(values[-1] + 1))
        return values


def class_names(numbers: Sequence[int], given: Sequence[str]) -> dict[int, str]:
    """The name of each class by its number.

    Args:
        numbers: of the classes.
        given: names in the order of numbers from 0 on, or of `numbers`; empty for none.

    Raises:
        InvalidInput: there are more numbers than names.
    """
    if not given:
        return {one: str(one) for one in numbers}
    if all(0 <= one < len(given) for one in numbers):
        return dict(enumerate(given))
    if len(given) == len(numbers):
        return dict(zip(numbers, given, strict=True))
    raise InvalidInput(
        f"There are {len(given)} class names, and labels from {min(numbers)} to {max(numbers)}; "
        f"give a name for each of the {len(numbers)} classes.",
        param="classes",
    )


def given_or_found(found: Iterable[str], given: Sequence[str]) -> tuple[str, ...]:
    """Class names in order: as given, else as found, sorted.

    Raises:
        InvalidInput: rows have a class that is not among the given ones, or too many.
    """
    unique = set(found)
    if given:
        unknown = sorted(unique - set(given))
        if unknown:
            raise InvalidInput(
                f"Rows have the class '{unknown[0][:80]}', which is not among the given classes "
                f"({', '.join(list(given)[:20])}).",
                param="classes",
            )
        return tuple(given)
    if len(unique) > MAX_CLASSES:
        raise InvalidInput(
            f"There are {len(unique)} classes; at most {MAX_CLASSES} are kept.", param="classes"
        )
    return tuple(sorted(unique))
