"""JSON lines, read twice: first to see what all rows hold, then to give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from modelry.datasets.forms import arrow_schema, arrow_type
from modelry.datasets.importers.bad_places import BadPlaces
from modelry.datasets.importers.batches import BATCH_BYTES, BATCH_ROWS
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.json_lines import Line, json_lines
from modelry.datasets.importers.json_values import (
    MAX_EXACT,
    NotOfType,
    as_type,
    flat_numbers,
    flattened,
    kind_of,
    shape_of,
    shown,
)
from modelry.datasets.importers.label_values import LabelValues
from modelry.datasets.importers.roles import (
    MAX_COLUMNS,
    assign_roles,
    check_left_out,
    check_names,
    may_be_label,
    settled_roles,
)
from modelry.datasets.importers.split_names import assign
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput

_MIXABLE = (ColumnType.INTEGER, ColumnType.NUMBER)


@dataclass(slots=True)
class _Seen:
    """What a column's values were so far."""

    kind: ColumnType
    values: int = 0
    shape: tuple[int, ...] = ()
    is_whole: bool = True
    has_large: bool = False
    """Whether it has whole numbers that a number with a fraction does not keep exactly."""


def open_files(request: ImportRequest) -> Source:
    """One JSON object per line; keys are columns, objects within them become `outer.inner`.

    Raises:
        InvalidInput: a file cannot be read.
        RowsInvalid: there are bad rows, and they are to be refused.
    """
    return JsonLinesSource(request)


class JsonLinesSource:
    """Implements `Source`."""

    def __init__(self, request: ImportRequest) -> None:
        self.problems = request.problems
        self._request = request
        self._bad = BadPlaces()
        self._rows = 0
        self._seen: dict[str, _Seen] = {}
        self._said = request.options.column_types()
        if ColumnType.IMAGE in self._said.values():
            raise InvalidInput("JSON lines hold no images.", param="types")
        self._files = assign(list(request.files), request.options.splits)
        self.schema = self._inferred()

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._files)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        waiting: list[Mapping[str, Any]] = []
        size = 0
        for name in self._files[split]:
            for line in json_lines(self._request, name, "reading"):
                if self._bad.within(name, line.place, line.place + 1):
                    continue
                waiting.append(self._flat(line))
                size += line.size_bytes
                if len(waiting) >= BATCH_ROWS or size >= BATCH_BYTES:
                    yield self._batch(waiting)
                    waiting, size = [], 0
        if waiting:
            yield self._batch(waiting)

    def _batch(self, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        arrays = [self._array(column, rows) for column in self.schema.columns]
        return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(self.schema))

    def _array(self, column: Column, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
        values = [row.get(column.name) for row in rows]
        if column.type is ColumnType.TENSOR:
            values = [None if one is None else flat_numbers(one, column.shape) for one in values]
        else:
            kind = self._kind(column.name)
            values = [as_type(one, kind) for one in values]
            if column.classes and kind is not ColumnType.TEXT:
                values = [as_type(one, ColumnType.TEXT) for one in values]
        return pa.array(values, arrow_type(column))

    def _kind(self, name: str) -> ColumnType:
        return self._said.get(name) or self._seen[name].kind

    def _inferred(self) -> Schema:
        options = self._request.options
        labels: dict[str, LabelValues] = {}
        for split, files in self._files.items():
            self.problems.begin(split)
            good = sum(self._look_at(name, labels) for name in files)
            self.problems.settle()
            if not good:
                raise InvalidInput(
                    f"{', '.join(files)}: there is no row that can be used.", param="files"
                )
        check_names(list(self._seen), next(iter(self._request.files)))
        check_left_out([*self._seen, *options.leave_out], options)
        roles = assign_roles({name: one.kind for name, one in self._seen.items()}, options)
        columns = tuple(
            self._column(name, roles[name], labels) for name in self._seen if name in roles
        )
        return Schema(settled_roles(columns, options))

    def _look_at(self, name: str, labels: dict[str, LabelValues]) -> int:
        """See all rows of a file; gives how many are good."""
        good = 0
        for line in json_lines(self._request, name, "checking"):
            reason = line.reason
            if not reason:
                try:
                    self._see(self._flat(line), labels)
                except NotOfType as error:
                    reason = str(error)
            if reason:
                self._bad.add(name, line.place)
                self.problems.bad(name, f"line {line.place}", reason)
            else:
                good += 1
        self._rows += good
        return good

    def _flat(self, line: Line) -> dict[str, Any]:
        row = flattened(line.row)
        for name in self._request.options.leave_out:
            row.pop(name, None)
        return row

    def _see(self, row: Mapping[str, Any], labels: dict[str, LabelValues]) -> None:
        """Note what a row holds, all of it or, when it is bad, nothing."""
        noted: list[tuple[_Seen, ColumnType, Any]] = []
        new: dict[str, _Seen] = {}
        for name, value in row.items():
            if value is None:
                if name not in self._seen:
                    new[name] = _Seen(ColumnType.TEXT)
                continue
            kind = kind_of(value)
            seen = self._seen.get(name)
            if seen is None:
                seen = new[name] = _Seen(kind)
            self._check(name, value, kind, seen)
            noted.append((seen, kind, value))
        if len(self._seen) + len(new) > MAX_COLUMNS:
            raise NotOfType(f"with it there are more than {MAX_COLUMNS} columns")
        self._seen |= new
        for seen, kind, value in noted:
            _note(seen, kind, value)
        for name, value in row.items():
            if value is not None and may_be_label(name, self._request.options):
                labels.setdefault(name, LabelValues()).update(self._class_name(name, value))

    def _class_name(self, name: str, value: Any) -> tuple[str, ...]:
        if name not in self._said and self._seen[name].kind is ColumnType.TENSOR:
            return ()
        plain = as_type(value, self._said.get(name, kind_of(value)))
        return (as_type(plain, ColumnType.TEXT),)

    def _check(self, name: str, value: Any, kind: ColumnType, seen: _Seen) -> None:
        said = self._said.get(name)
        if said is not None:
            try:
                as_type(value, said)
            except NotOfType as error:
                raise NotOfType(f"{error}, in '{name}'") from None
            return
        if kind is ColumnType.TENSOR:
            shape = seen.shape or shape_of(value)
            flat_numbers(value, shape)
        is_alike = kind is seen.kind or (kind in _MIXABLE and seen.kind in _MIXABLE)
        if seen.values and not is_alike:
            raise NotOfType(
                f"'{name}' is {shown(value)}, in the rows before it is {seen.kind.value}; give "
                f"types={{{name}: text}} to take all for text"
            )
        if kind in _MIXABLE:
            as_type(value, seen.kind if kind is ColumnType.INTEGER else kind)
            if seen.has_large and kind is ColumnType.NUMBER:
                raise NotOfType(
                    f"'{name}' is {shown(value)}, and rows before it hold whole numbers that would "
                    "lose digits in such a column; give types={" + name + ": text}"
                )

    def _column(self, name: str, role: ColumnRole, labels: Mapping[str, LabelValues]) -> Column:
        seen, kind = self._seen[name], self._kind(name)
        is_nullable = seen.values < self._rows
        if kind is ColumnType.TENSOR:
            dtype = "int64" if seen.is_whole else "float64"
            return Column(name, kind, role, is_nullable, shape=seen.shape, dtype=dtype)
        if role is ColumnRole.LABEL:
            return labels.get(name, LabelValues()).column(
                name, kind, self._request.options, self.problems, is_nullable=is_nullable
            )
        return Column(name, kind, role, is_nullable)


def _note(seen: _Seen, kind: ColumnType, value: Any) -> None:
    if not seen.values or (seen.kind is ColumnType.INTEGER and kind is ColumnType.NUMBER):
        seen.kind = kind
    if kind is ColumnType.TENSOR:
        seen.shape = seen.shape or shape_of(value)
        seen.is_whole = seen.is_whole and all(
            type(one) is int for one in flat_numbers(value, seen.shape)
        )
    elif kind is ColumnType.INTEGER:
        seen.has_large = seen.has_large or abs(value) > MAX_EXACT
    seen.values += 1
