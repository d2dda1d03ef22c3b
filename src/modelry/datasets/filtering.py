"""The value of an expression for every row of a batch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets.expressions import (
    AllOf,
    AnyOf,
    ColumnValue,
    Comparison,
    Condition,
    Length,
    Literal,
    Missing,
    Not,
    OneOf,
    Operand,
    TextTest,
    Truth,
    columns_of,
)
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import InvalidInput

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_TEXT_TESTS: dict[str, Callable[[Any, str], Any]] = {
    "contains": pc.match_substring,
    "starts_with": pc.starts_with,
    "ends_with": pc.ends_with,
}
_COMPARABLE = frozenset(
    {
        ColumnType.TEXT,
        ColumnType.INTEGER,
        ColumnType.NUMBER,
        ColumnType.BOOLEAN,
        ColumnType.TIME,
    }
)
_WITH_LENGTH = frozenset({ColumnType.TEXT, ColumnType.IMAGE, ColumnType.BOXES})
_LITERAL_OF: dict[ColumnType, tuple[type, ...]] = {
    ColumnType.TEXT: (str,),
    ColumnType.INTEGER: (int, float),
    ColumnType.NUMBER: (int, float),
    ColumnType.BOOLEAN: (bool,),
    ColumnType.TIME: (str,),
}


def kept_rows(schema: Schema, condition: Condition, batch: pa.RecordBatch) -> pa.BooleanArray:
    """For each row whether `condition` is true; comparing a missing value is not."""
    return pc.fill_null(_value(schema, condition, batch), False)  # noqa: FBT003 - Arrow's form


def check_filter(schema: Schema, condition: Condition) -> None:
    """See that `condition` can be asked of rows with these columns.

    Raises:
        InvalidInput: a column is not there, or its type does not fit.
    """
    for name in sorted(columns_of(condition)):
        _column(schema, name)
    _check(schema, condition)


def _check(schema: Schema, node: Condition) -> None:
    match node:
        case AllOf(parts=parts) | AnyOf(parts=parts):
            for one in parts:
                _check(schema, one)
        case Not(of=of):
            _check(schema, of)
        case Comparison(left=left, right=right):
            _check_pair(schema, left, right)
        case OneOf(value=value, among=among):
            for one in among:
                _check_pair(schema, value, Literal(one))
        case TextTest(of=of):
            _check_type(schema, of, frozenset({ColumnType.TEXT}), "tested for a text")
        case Truth(of=of):
            _check_type(schema, of, frozenset({ColumnType.BOOLEAN}), "a condition by itself")


def _check_pair(schema: Schema, left: Operand, right: Operand) -> None:
    types = [_type_of(schema, one) for one in (left, right)]
    for type_, other in ((types[0], right), (types[1], left)):
        if type_ is None or not isinstance(other, Literal):
            continue
        value = other.value
        is_bool = isinstance(value, bool)
        if not isinstance(value, _LITERAL_OF[type_]) or is_bool != (type_ is ColumnType.BOOLEAN):
            raise InvalidInput(
                f"The filter compares a column of the type '{type_}' with {value!r:.80}.",
                param="filter",
            )
        if type_ is ColumnType.TIME:
            _moment(str(value))


def _type_of(schema: Schema, operand: Operand) -> ColumnType | None:
    match operand:
        case ColumnValue():
            return _check_type(schema, operand, _COMPARABLE, "compared").type
        case Length(of=of):
            _check_type(schema, of, _WITH_LENGTH, "asked for its length")
            return ColumnType.INTEGER
    return None


def _check_type(
    schema: Schema, of: ColumnValue, allowed: frozenset[ColumnType], what: str
) -> Column:
    column = _column(schema, of.name)
    if column.type not in allowed:
        raise InvalidInput(
            f"Column '{of.name}' has the type '{column.type}' and cannot be {what}; "
            f"{', '.join(sorted(allowed))} can.",
            param="filter",
        )
    return column


def _column(schema: Schema, name: str) -> Column:
    found = schema.find(name)
    if found is None:
        known = ", ".join(one.name for one in schema.columns)
        raise InvalidInput(
            f"The filter reads the column '{name[:80]}'; there are {known[:500]}.", param="filter"
        )
    return found


def _value(schema: Schema, node: Condition, batch: pa.RecordBatch) -> Any:
    match node:
        case AllOf(parts=parts):
            return reduce(pc.and_kleene, (_value(schema, one, batch) for one in parts))
        case AnyOf(parts=parts):
            return reduce(pc.or_kleene, (_value(schema, one, batch) for one in parts))
        case Not(of=of):
            return pc.invert(_value(schema, of, batch))
        case Missing(of=of):
            return pc.is_null(batch.column(of.name))
        case Truth(of=of):
            return batch.column(of.name)
        case TextTest(test=test, of=of, text=text):
            return _TEXT_TESTS[test](batch.column(of.name), text)
        case OneOf(value=value, among=among):
            parts = tuple(Comparison(value, "==", Literal(one)) for one in among)
            return _value(schema, AnyOf(parts), batch) if parts else _never(batch)
        case Comparison(left=left, operator=operator, right=right):
            return _compared(schema, left, operator, right, batch)


def _compared(
    schema: Schema, left: Operand, operator: str, right: Operand, batch: pa.RecordBatch
) -> Any:
    types = [_type_of(schema, one) for one in (left, right)]
    known = next((one for one in types if one is not None), None)
    values = [_operand(one, known, batch) for one in (left, right)]
    found = _COMPARE[operator](*values)
    if isinstance(found, pa.Scalar):  # two literals
        return pa.array([found.as_py()] * len(batch), pa.bool_())
    return found


def _operand(operand: Operand, type_: ColumnType | None, batch: pa.RecordBatch) -> Any:
    match operand:
        case ColumnValue(name=name):
            return batch.column(name)
        case Length(of=of):
            return _length(batch.column(of.name))
        case Literal(value=value):
            if type_ is ColumnType.TIME:
                return pa.scalar(_moment(str(value)), pa.timestamp("us", "UTC"))
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                return pa.scalar(float(value))
            return pa.scalar(value)


def _length(array: pa.Array) -> Any:
    if pa.types.is_list(array.type):
        return pc.list_value_length(array).cast(pa.int64())
    length = pc.utf8_length if pa.types.is_string(array.type) else pc.binary_length
    return length(array).cast(pa.int64())


def _never(batch: pa.RecordBatch) -> Any:
    return pa.array([False] * len(batch), pa.bool_())


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(
            f"{text[:80]!r} is no time with a time zone, such as '2030-01-31T00:00:00Z'.",
            param="filter",
        )
    return moment
