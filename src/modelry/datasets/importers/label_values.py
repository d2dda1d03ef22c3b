"""The label of a table: a class by name, or a quantity."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets.importers.classes import given_or_found
from modelry.datasets.importers.options import MAX_CLASSES, TableOptions
from modelry.datasets.importers.problems import Problems
from modelry.domain.datasets import Column, ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput

MAX_GUESSED_CLASSES = 50
"""Whole numbers of more different values are taken for quantities."""


class LabelValues:
    """The different values of a column, as text, as far as they can be classes."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self.is_too_many = False

    def add(self, cells: pa.Array) -> None:
        """Take some values, as text."""
        if self.is_too_many:
            return
        self.update(one for one in pc.unique(cells).to_pylist() if one is not None)

    def update(self, texts: Iterable[str]) -> None:
        """Take some values."""
        self._values.update(texts)
        if len(self._values) > MAX_CLASSES:
            self.is_too_many = True
            self._values.clear()

    def mapped(self, names: Callable[[pa.Array], pa.Array]) -> LabelValues:
        """The values under other names; missing ones are left out."""
        mapped = LabelValues()
        mapped.is_too_many = self.is_too_many
        mapped.add(names(pa.array(sorted(self._values), pa.utf8())))
        return mapped

    def column(
        self, name: str, kind: ColumnType, options: TableOptions, problems: Problems, *,
        is_nullable: bool,
    ) -> Column:  # fmt: skip
        """The label's column.

        Raises:
            InvalidInput: it can be no label, or not what is said of it.
        """
        plain = Column(name, kind, ColumnRole.LABEL, is_nullable=is_nullable)
        said = options.labels
        if said == "numbers" and kind not in (ColumnType.INTEGER, ColumnType.NUMBER):
            raise InvalidInput(
                f"The label '{name}' holds {kind.value} values; expected numbers for "
                "labels=numbers.",
                param="labels",
            )
        if said == "numbers" or (said is None and kind is ColumnType.NUMBER):
            return plain
        if kind not in (
            ColumnType.TEXT,
            ColumnType.INTEGER,
            ColumnType.BOOLEAN,
            ColumnType.NUMBER,
        ):
            return plain
        if said is None and kind is ColumnType.INTEGER:
            if self.is_too_many or len(self._values) > MAX_GUESSED_CLASSES:
                return plain
            problems.note(
                f"label {name}",
                f"The label '{name}' holds {len(self._values)} different whole numbers, taken for "
                "classes; import with labels=numbers if it is a quantity.",
            )
        if self.is_too_many:
            if options.label is None and said is None:
                problems.note(
                    f"label {name}",
                    f"Column '{name}' has more than {MAX_CLASSES} different texts, so it was not "
                    "taken for the label.",
                )
                return Column(name, kind, ColumnRole.FEATURE, is_nullable=is_nullable)
            raise InvalidInput(
                f"The label '{name}' has more than {MAX_CLASSES} different values; so many classes "
                "are not kept. Name another label.",
                param="label",
            )
        values = sorted(self._values, key=_in_order)
        classes = given_or_found(values, options.classes) if options.classes else tuple(values)
        return Column(
            name, ColumnType.TEXT, ColumnRole.LABEL, is_nullable=is_nullable, classes=classes
        )


def _in_order(text: str) -> tuple[float, str]:
    """Numbers by size, before all else."""
    try:
        return (float(text), text)
    except ValueError:
        return (float("inf"), text)
