"""Parquet, also as hubs have it: images as a file's bytes, labels as numbers of named classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from modelry.datasets.forms import arrow_schema
from modelry.datasets.importers.arrow_columns import ArrowColumn, flat_columns
from modelry.datasets.importers.bad_places import BadPlaces
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.roles import (
    assign_roles,
    check_left_out,
    check_names,
    settled_roles,
)
from modelry.datasets.importers.split_names import assign
from modelry.domain.datasets import Column, ColumnRole, Schema
from modelry.domain.errors import InvalidInput

MAX_GROUP_BYTES = 2**30
"""How large a row group may say to be unpacked; its columns are read a page at a time."""

ROWS = 1024


def open_files(request: ImportRequest) -> Source:
    """Tables in Parquet; all files have the same columns.

    Raises:
        InvalidInput: a file cannot be read, or holds columns that cannot be kept.
        RowsInvalid: there are bad rows, and they are to be refused.
    """
    return ParquetSource(request)


class ParquetSource:
    """Implements `Source`."""

    def __init__(self, request: ImportRequest) -> None:
        self.problems = request.problems
        self._request = request
        self._bad = BadPlaces()
        self._rows = 0
        self._files = assign(list(request.files), request.options.splits)
        self._columns = self._declared()
        self.schema = self._inferred()

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._files)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        schema = arrow_schema(self.schema)
        for name in self._files[split]:
            for place, columns in self._batches(name, "reading"):
                count = len(next(iter(columns.values())))
                bad = self._bad.within(name, place, place + count)
                keep = None
                if bad:
                    mask = [True] * count
                    for one in bad:
                        mask[one - place] = False
                    keep = pa.array(mask, pa.bool_())
                arrays = [
                    self._columns[one.name].read(
                        columns[one.name] if keep is None else columns[one.name].filter(keep), one
                    )
                    for one in self.schema.columns
                ]
                if len(arrays[0]):
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _declared(self) -> dict[str, ArrowColumn]:
        """The columns as the files' schemas say them, the same in each."""
        first: dict[str, ArrowColumn] = {}
        first_name = ""
        for name, path in self._request.files.items():
            with _opened(path, name) as file:
                _check_groups(file, name)
                class_names = _class_names(file.schema_arrow)
                fields = flat_columns(_empty(file.schema_arrow))
            if not fields:
                raise InvalidInput(f"The file '{name}' has no columns.", param=name)
            check_names(list(fields), name)
            check_left_out(fields, self._request.options)
            columns = {
                field: ArrowColumn(field, array.type, class_names.get(field, ()), self._request)
                for field, array in fields.items()
                if field not in self._request.options.leave_out
            }
            if not first:
                first, first_name = columns, name
            for field in {**first, **columns}:
                if (
                    field not in first
                    or field not in columns
                    or first[field].arrow_type != columns[field].arrow_type
                ):
                    raise InvalidInput(
                        f"'{name}' and '{first_name}' differ in the column '{field}': it is in one "
                        "of them only, or of another type.",
                        param=name,
                    )
        return first

    def _inferred(self) -> Schema:
        options = self._request.options
        roles = assign_roles({name: one.kind for name, one in self._columns.items()}, options)
        roles = self._with_named_classes(roles)
        for name, one in self._columns.items():
            one.role = roles[name]
        for split, files in self._files.items():
            self.problems.begin(split)
            good = sum(self._look_at(name) for name in files)
            self.problems.settle()
            if not good:
                raise InvalidInput(
                    f"{', '.join(files)}: there is no row that can be used.", param="files"
                )
        columns: tuple[Column, ...] = tuple(one.column() for one in self._columns.values())
        return Schema(settled_roles(columns, options))

    def _with_named_classes(self, roles: Mapping[str, ColumnRole]) -> dict[str, ColumnRole]:
        """The only column with named classes is the label, if nothing else is."""
        named = [name for name, one in self._columns.items() if one.class_names]
        taken = {ColumnRole.LABEL, ColumnRole.SOURCE} & set(roles.values())
        if not taken and len(named) == 1 and not self._request.options.features:
            return {**roles, named[0]: ColumnRole.LABEL}
        return dict(roles)

    def _look_at(self, name: str) -> int:
        """See all rows of a file; gives how many are good."""
        good = 0
        for place, columns in self._batches(name, "checking"):
            bad: dict[int, str] = {}
            for field, one in self._columns.items():
                for at, reason in one.look(columns[field]).items():
                    bad.setdefault(at, f"column '{field}': {reason}")
            for at in sorted(bad):
                self._bad.add(name, place + at)
                self.problems.bad(name, f"row {place + at + 1}", bad[at])
            good += len(next(iter(columns.values()))) - len(bad)
        self._rows += good
        return good

    def _batches(self, name: str, phase: str) -> Iterator[tuple[int, dict[str, pa.Array]]]:
        """The place of each batch's first row, and its columns."""
        place = 0
        with _opened(self._request.files[name], name) as file:
            total = file.metadata.num_rows
            try:
                for batch in file.iter_batches(batch_size=ROWS, use_threads=False):
                    batch.validate(full=True)
                    if batch.num_rows:
                        yield place, flat_columns(batch)
                    place += batch.num_rows
                    self._request.watch(phase, place, total)
            except (pa.ArrowException, OSError) as error:
                raise InvalidInput(
                    f"The Parquet file '{name}' is damaged behind row {place}: {str(error)[:200]}",
                    param=name,
                ) from None
            if place != total:
                raise InvalidInput(
                    f"The Parquet file '{name}' has {place} rows and tells of {total}.", param=name
                )


def _opened(path: Path, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            path,
            pre_buffer=False,
            thrift_string_size_limit=16 * 2**20,
            thrift_container_size_limit=1_000_000,
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(
            f"'{name}' is no Parquet file that can be read: {str(error)[:200]}", param=name
        ) from None


def _check_groups(file: pq.ParquetFile, name: str) -> None:
    for at in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(at).total_byte_size
        if not 0 <= size <= MAX_GROUP_BYTES:
            raise InvalidInput(
                f"A row group of '{name}' says to have {size} bytes; at most {MAX_GROUP_BYTES} are "
                "read. Write it with a smaller row_group_size.",
                param=name,
            )


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_pylist([], schema)
    except pa.ArrowException as error:
        raise InvalidInput(
            f"The columns cannot be read: {str(error)[:200]}", param="files"
        ) from None


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Names of classes by column, as the `datasets` library writes them into a schema."""
    try:
        told: Any = orjson.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = told["info"]["features"]
        return {
            str(name): tuple(str(one) for one in feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict)
            and feature.get("_type") == "ClassLabel"
            and len(set(feature["names"])) == len(feature["names"])
        }
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}
