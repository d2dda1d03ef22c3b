"""Streams of rows whose columns are others: renamed, left out, with other types, roles, classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets import forms
from modelry.datasets.writing import RowStream
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput, RowsInvalid

MAX_CLASSES = 10_000
_CASTS = frozenset(
    {
        (ColumnType.TEXT, ColumnType.INTEGER),
        (ColumnType.TEXT, ColumnType.NUMBER),
        (ColumnType.TEXT, ColumnType.BOOLEAN),
        (ColumnType.INTEGER, ColumnType.NUMBER),
        (ColumnType.INTEGER, ColumnType.TEXT),
        (ColumnType.NUMBER, ColumnType.INTEGER),
        (ColumnType.NUMBER, ColumnType.TEXT),
        (ColumnType.BOOLEAN, ColumnType.TEXT),
        (ColumnType.BOOLEAN, ColumnType.INTEGER),
    }
)


class Reshaped:
    """Rows with other columns: `columns` tells which column each is made of.

    Args:
        stream: the rows.
        columns: each new column, and the name of the one that it is made of.
    """

    def __init__(self, stream: RowStream, columns: Sequence[tuple[Column, str]]) -> None:
        self._stream = stream
        self._columns = columns
        self.schema = Schema(tuple(column for column, _ in columns))
        self.splits = stream.splits
        names = [column.name for column in self.schema.columns]
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise InvalidInput(f"Two columns would be called '{twice[0]}'.", param="rename")
        if not names:
            raise InvalidInput("No column would be left.", param="drop")

    def rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows with their new columns."""
        schema = forms.arrow_schema(self.schema)
        seen: dict[str, int] = {}
        for split, batch in self._stream.rows():
            arrays = [
                self._array(column, batch.column(name), split, seen.get(split, 0))
                for column, name in self._columns
            ]
            seen[split] = seen.get(split, 0) + len(batch)
            yield split, pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _array(self, column: Column, array: pa.Array, split: str, row: int) -> pa.Array:
        wanted = forms.arrow_type(column)
        if array.type != wanted:
            try:
                array = array.cast(wanted)
            except pa.ArrowInvalid as error:
                raise RowsInvalid(
                    f"Column '{column.name}' cannot become {column.type}, in the split '{split}' "
                    f"from row {row + 1} on: {str(error)[:200]}",
                    param=column.name,
                ) from None
        if column.classes and column.type is ColumnType.TEXT:
            _check_classes(column, array, split, row)
        return array


def _check_classes(column: Column, array: pa.Array, split: str, row: int) -> None:
    known = pc.is_in(array, pa.array(column.classes, pa.utf8()))
    odd = pc.and_(pc.invert(known), pc.is_valid(array))
    if not pc.any(odd).as_py():
        return
    at = pc.index(odd, True).as_py()
    raise RowsInvalid(
        f"Row {row + at + 1} of the split '{split}' has a label in the column '{column.name}' that "
        f"is none of its {len(column.classes)} classes. Filter such rows out first, or name all "
        "classes.",
        param=column.name,
    )


def renamed(stream: RowStream, names: Mapping[str, str]) -> RowStream:
    """`stream` with columns of other names."""
    check_columns(stream, names)
    return Reshaped(
        stream,
        [(replace(one, name=names.get(one.name, one.name)), one.name) for one in _columns(stream)],
    )


def without(stream: RowStream, names: Sequence[str]) -> RowStream:
    """`stream` without some columns."""
    check_columns(stream, names)
    return Reshaped(stream, [(one, one.name) for one in _columns(stream) if one.name not in names])


def retyped(stream: RowStream, types: Mapping[str, ColumnType]) -> RowStream:
    """`stream` with columns of other types; classes of a label stay as they are.

    Raises:
        InvalidInput: a type cannot become another.
    """
    check_columns(stream, types)
    made = [(_retyped(one, types.get(one.name, one.type)), one.name) for one in _columns(stream)]
    shaped = Reshaped(stream, made)
    labels = {
        one.name: ColumnRole.LABEL
        for one in stream.schema.with_role(ColumnRole.LABEL)
        if types.get(one.name) is ColumnType.TEXT
    }
    return with_roles(shaped, labels) if labels else shaped


def _retyped(column: Column, wanted: ColumnType) -> Column:
    if wanted is column.type:
        return column
    if (column.type, wanted) not in _CASTS:
        raise InvalidInput(
            f"Column '{column.name}' is {column.type} and cannot become {wanted}.",
            param=column.name,
        )
    is_label = wanted is ColumnType.TEXT and column.role is ColumnRole.LABEL
    role = ColumnRole.FEATURE if is_label else column.role  # until its classes are known
    return replace(column, type=wanted, classes=(), role=role)


def with_roles(stream: RowStream, roles: Mapping[str, ColumnRole]) -> RowStream:
    """`stream` with columns of other roles.

    A text that becomes a label gets its values as classes, in alphabetical order: for that all rows
    are read once more.
    """
    check_columns(stream, roles)
    made = []
    for column in _columns(stream):
        role = roles.get(column.name, column.role)
        classes = column.classes
        if column.type is ColumnType.TEXT:
            if role is not ColumnRole.LABEL:
                classes = ()
            elif not classes:
                classes = _values_of(stream, column)
        made.append((replace(column, role=role, classes=classes), column.name))
    return Reshaped(stream, made)


def with_classes(stream: RowStream, classes: Mapping[str, Sequence[str]]) -> RowStream:
    """`stream` with columns of other classes; see `plans.ClassesStep`."""
    check_columns(stream, classes)
    made = [(_reclassed(one, classes.get(one.name)), one.name) for one in _columns(stream)]
    return Reshaped(stream, made)


def _reclassed(column: Column, wanted: Sequence[str] | None) -> Column:
    if wanted is None:
        return column
    if not column.classes:
        raise InvalidInput(
            f"Column '{column.name}' has no classes; make it a label first.", param=column.name
        )
    if len(set(wanted)) != len(wanted):
        raise InvalidInput(f"Two classes of '{column.name}' have one name.", param=column.name)
    if column.type is ColumnType.BOXES and len(wanted) < len(column.classes):
        raise InvalidInput(
            f"The boxes of '{column.name}' have {len(column.classes)} classes by number; name all.",
            param=column.name,
        )
    return replace(column, classes=tuple(wanted))


def _values_of(stream: RowStream, column: Column) -> tuple[str, ...]:
    found: set[str] = set()
    for _, batch in stream.rows():
        found.update(one for one in batch.column(column.name).unique().to_pylist() if one)
        if len(found) > MAX_CLASSES:
            raise InvalidInput(
                f"Column '{column.name}' has more than {MAX_CLASSES} different texts: too many to "
                "be classes of a label.",
                param=column.name,
            )
    return tuple(sorted(found))


def check_columns(stream: RowStream, names: Sequence[str] | Mapping[str, object]) -> None:
    """See that there are such columns.

    Raises:
        InvalidInput: there is none of that name.
    """
    for name in names:
        if stream.schema.find(name) is None:
            known = ", ".join(one.name for one in stream.schema.columns)
            raise InvalidInput(
                f"There is no column '{name}'; there are {known[:500]}.", param=name[:80]
            )


def _columns(stream: RowStream) -> tuple[Column, ...]:
    return stream.schema.columns
