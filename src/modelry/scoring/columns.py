"""The columns that a task needs, and the values that say what is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelry.domain.datasets import Column, ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid
from modelry.scoring.contract import Rows, Subject


def one_column(subject: Subject, role: ColumnRole, type_: ColumnType | None = None) -> Column:
    """The one column with that role (and type).

    Raises:
        InvalidInput: there is none, or there are several.
    """
    found = [one for one in subject.schema.with_role(role) if type_ in (None, one.type)]
    if len(found) == 1:
        return found[0]
    what = f"column with the role '{role.value}'" + (f" of type '{type_.value}'" if type_ else "")
    told = ", ".join(f"'{one.name}'" for one in found)
    raise InvalidInput(
        f"To evaluate a version of the task '{subject.task}' the dataset needs one {what}; it has "
        + (f"several: {told}. Give the others another role." if found else "none."),
        param="dataset",
    )


def is_class(label: Column) -> bool:
    """Whether a label is the name of a class, not a number."""
    return bool(label.classes) or label.type in (ColumnType.TEXT, ColumnType.BOOLEAN)


def known_values(rows: Rows, column: str) -> Iterator[tuple[int, Any]]:
    """The values of a column, each with its place in the split.

    Raises:
        RowsInvalid: one is missing; names the row.
    """
    for at, value in enumerate(rows.column(column), rows.first):
        if value is None:
            raise RowsInvalid(
                f"Row {at + 1} has no '{column}'. Derive a version without such rows: "
                f'modelry datasets derive ... --where "{column} is not null".',
                param=column,
            )
        yield at, value
