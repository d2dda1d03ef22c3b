"""Columns of Arrow as other programs write them, as columns of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at

from modelry.datasets.forms import MAX_TENSOR_BYTES, TENSOR_TYPES, arrow_type
from modelry.datasets.importers.contract import ImportRequest
from modelry.datasets.importers.images import look_at
from modelry.datasets.importers.label_values import LabelValues
from modelry.domain.datasets import Column, ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput
from modelry.processing.parameters import Unfit

_MAX_DIMENSIONS = 8
_IMAGE_FIELDS = {"bytes", "path"}


def flat_columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Columns by name; those of structures are called `outer.inner`, images are their bytes."""
    columns: dict[str, pa.Array] = {}
    todo = list(zip(batch.schema.names, batch.columns, strict=True))[::-1]
    while todo:
        name, array = todo.pop()
        if not at.is_struct(array.type):
            if name in columns:
                raise InvalidInput(f"There are two columns called '{name}'.", param=name)
            columns[name] = array
            continue
        fields = [array.type.field(i).name for i in range(array.type.num_fields)]
        inner = array.flatten()
        if set(fields) == _IMAGE_FIELDS:
            todo.append((name, inner[fields.index("bytes")]))
        else:
            todo += [(f"{name}.{one}", part) for one, part in zip(fields, inner, strict=True)][::-1]
    return columns


def _kind(kind: pa.DataType) -> ColumnType | None:
    if at.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        (at.is_boolean, ColumnType.BOOLEAN),
        (at.is_integer, ColumnType.INTEGER),
        (at.is_floating, ColumnType.NUMBER),
        (at.is_decimal, ColumnType.NUMBER),
        (at.is_string, ColumnType.TEXT),
        (at.is_large_string, ColumnType.TEXT),
        (at.is_string_view, ColumnType.TEXT),
        (at.is_timestamp, ColumnType.TIME),
        (at.is_date, ColumnType.TIME),
        (at.is_binary, ColumnType.IMAGE),
        (at.is_large_binary, ColumnType.IMAGE),
        (at.is_null, ColumnType.TEXT),
        (_is_list, ColumnType.TENSOR),
    )
    return next((ours for test, ours in tests if test(kind)), None)


def _is_list(kind: pa.DataType) -> bool:
    return bool(at.is_list(kind) or at.is_large_list(kind) or at.is_fixed_size_list(kind))


class ArrowColumn:
    """One column over all files: look at all of it first, then it can be read.

    Args:
        name: of the column.
        arrow_type: as the files have it.
        class_names: of the classes that whole numbers stand for; empty for none.
        request: the import.

    Raises:
        InvalidInput: columns of the type cannot be kept.
    """

    def __init__(
        self,
        name: str,
        arrow_type: pa.DataType,
        class_names: tuple[str, ...],
        request: ImportRequest,
    ) -> None:
        self.name = name
        self.arrow_type = arrow_type
        self.role = ColumnRole.FEATURE
        self._request = request
        declared = _kind(arrow_type)
        if declared is None or (declared is ColumnType.TENSOR and _dtype(arrow_type) is None):
            raise InvalidInput(
                f"Column '{name}' is of the type {str(arrow_type)[:80]}, which cannot be kept; "
                f"import without it: leave_out=[{name}].",
                param=name,
            )
        self._declared = declared
        self.class_names = class_names if declared is ColumnType.INTEGER else ()
        said = request.options.column_types().get(name)
        if said is not None and said is not declared and not _can_be(declared, said):
            raise InvalidInput(
                f"Column '{name}' holds {declared.value} values and cannot be {said.value}.",
                param="types",
            )
        self.kind: ColumnType = said or declared
        self._is_any_missing = False
        self._shape: tuple[int, ...] = ()
        self._labels = LabelValues()

    def look(self, array: pa.Array) -> dict[int, str]:
        """See some values; gives what is wrong, by place."""
        bad: dict[int, str] = {}
        match self._declared:
            case ColumnType.IMAGE:
                bad = _bad_images(array)
            case ColumnType.TENSOR:
                bad = self._bad_tensors(array)
            case ColumnType.INTEGER:
                bad = self._bad_integers(array)
            case ColumnType.TIME:
                bad = _not_castable(array, pa.timestamp("us"))
        self._is_any_missing = self._is_any_missing or self._missing(array)
        if self.role is ColumnRole.LABEL and self._declared is not ColumnType.TENSOR and not bad:
            self._labels.add(self._plain(array).cast(pa.utf8()))
        return bad

    def column(self) -> Column:
        """What it is, once all of it was seen."""
        if self.kind is ColumnType.TENSOR:
            dtype = _dtype(self.arrow_type) or ""
            return Column(
                self.name,
                self.kind,
                self.role,
                self._is_any_missing,
                shape=self._shape or (1,),
                dtype=dtype,
            )
        if self.class_names:
            return Column(
                self.name, ColumnType.TEXT, self.role, self._is_any_missing, self.class_names
            )
        if self.role is ColumnRole.LABEL:
            return self._labels.column(
                self.name,
                self.kind,
                self._request.options,
                self._request.problems,
                is_nullable=self._is_any_missing,
            )
        return Column(self.name, self.kind, self.role, self._is_any_missing)

    def read(self, array: pa.Array, column: Column) -> pa.Array:
        """Values as those of `column`."""
        wanted = arrow_type(column)
        if column.type is ColumnType.TENSOR:
            return _tensors(array, column, wanted)
        plain = self._plain(array)
        return plain if plain.type == wanted else plain.cast(wanted)

    def _plain(self, array: pa.Array) -> pa.Array:
        if at.is_dictionary(array.type):
            array = array.dictionary_decode()
        if self.class_names:
            numbers = array.cast(pa.int64())
            known = pc.if_else(pc.equal(numbers, -1), pa.scalar(None, pa.int64()), numbers)
            return pc.take(pa.array(self.class_names, pa.utf8()), known)
        if self.kind is ColumnType.TIME and not _has_zone(array.type):
            array = array.cast(pa.timestamp("us"), safe=False)
            return array.cast(pa.timestamp("us", "UTC"))
        if at.is_decimal(array.type):
            return array.cast(pa.float64())
        if self.kind is ColumnType.TIME:
            return array.cast(pa.timestamp("us", "UTC"), safe=False)
        return array

    def _missing(self, array: pa.Array) -> bool:
        if array.null_count:
            return True
        return bool(self.class_names) and bool(pc.any(pc.equal(array, -1)).as_py())

    def _bad_integers(self, array: pa.Array) -> dict[int, str]:
        bad = _not_castable(array, pa.int64())
        if self.class_names and not bad:
            numbers = array.cast(pa.int64())
            outside = pc.or_(pc.less(numbers, -1), pc.greater_equal(numbers, len(self.class_names)))
            for place in pc.indices_nonzero(pc.fill_null(outside, fill_value=False)).to_pylist():
                bad[place] = f"{array[place].as_py()} is none of {len(self.class_names)} classes"
        return bad

    def _bad_tensors(self, array: pa.Array) -> dict[int, str]:
        if not self._shape:
            first = next((one.as_py() for one in array if one.is_valid), None)
            if first is not None:
                self._shape = _shape(first)
                _check_size(self.name, self._shape, self.arrow_type)
        if not self._shape or _is_even(array, self._shape):
            return {}
        bad = {}
        for place, one in enumerate(array):
            if one.is_valid and not _is_even(array[place : place + 1], self._shape):
                bad[place] = f"its lists are not of the shape {list(self._shape)}, or miss a value"
        return bad


def _can_be(declared: ColumnType, said: ColumnType) -> bool:
    plain = {ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.BOOLEAN, ColumnType.TIME}
    return said is ColumnType.TEXT and declared in plain


def _has_zone(kind: pa.DataType) -> bool:
    return at.is_timestamp(kind) and kind.tz is not None


def _dtype(kind: pa.DataType) -> str | None:
    """The type of values of lists in lists, None if they are no numbers."""
    depth = 0
    while _is_list(kind):
        kind = kind.value_type
        depth += 1
    if depth > _MAX_DIMENSIONS or not at.is_primitive(kind) or at.is_boolean(kind):
        return None
    found = [name for name, one in TENSOR_TYPES.items() if one == kind and name != "bool"]
    return found[0] if found else None


def _shape(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list) and value:
        shape.append(len(value))
        value = value[0]
    return tuple(shape)


def _check_size(name: str, shape: tuple[int, ...], kind: pa.DataType) -> None:
    size = np.dtype(_dtype(kind)).itemsize
    for side in shape:
        size *= side
    if size > MAX_TENSOR_BYTES:
        raise InvalidInput(
            f"Column '{name}' has lists of the shape {list(shape)}; at most {MAX_TENSOR_BYTES} "
            "bytes a row can be kept.",
            param=name,
        )


def _is_even(array: pa.Array, shape: tuple[int, ...]) -> bool:
    """Whether all rows that are there have lists of `shape`, with no value missing."""
    present = array.drop_null()
    for side in shape:
        if not _is_list(present.type) or present.null_count:
            return False
        lengths = pc.list_value_length(present)
        if not pc.all(pc.equal(lengths, side)).as_py() and len(present):
            return False
        present = present.flatten()
    return not _is_list(present.type) and not present.null_count


def _tensors(array: pa.Array, column: Column, wanted: pa.DataType) -> pa.Array:
    flat = array.drop_null()
    for _ in column.shape:
        if _is_list(flat.type):
            flat = flat.flatten()
    if not array.null_count:
        return pa.FixedSizeListArray.from_arrays(flat.cast(wanted.value_type), type=wanted)
    size = wanted.list_size
    values = np.zeros((len(array), size), flat.type.to_pandas_dtype())
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    values[valid] = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.reshape(-1), wanted.value_type), type=wanted, mask=pa.array(~valid)
    )


def _bad_images(array: pa.Array) -> dict[int, str]:
    bad = {}
    for place, one in enumerate(array):
        if one.is_valid:
            try:
                look_at(one.as_py())
            except Unfit as reason:
                bad[place] = str(reason)
    return bad


def _not_castable(array: pa.Array, wanted: pa.DataType) -> dict[int, str]:
    try:
        array.cast(wanted)
    except pa.ArrowInvalid:
        bad = {}
        for place, one in enumerate(array):
            try:
                one.cast(wanted)
            except pa.ArrowInvalid:
                bad[place] = f"{str(one)[:40]} cannot be kept exactly"
        return bad
    return {}
