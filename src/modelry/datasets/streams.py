"""Streams of rows that are made of other streams: shared out, joined, filtered, appended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelry.datasets import expressions, filtering, forms
from modelry.datasets.plans import SplitPlan
from modelry.datasets.row_hashes import mixed, row_hashes, telling
from modelry.datasets.splitting import MAX_EXACT_ROWS, Splitter
from modelry.datasets.writing import RowStream
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import InvalidInput

Rows = Iterator[tuple[str, pa.RecordBatch]]


class SharedOut:
    """The rows of one split, or of all, shared out to the splits of a plan.

    Args:
        stream: the rows; they are read twice.
        plan: how.
        of: the only split that is shared out, None for all together.
    """

    def __init__(self, stream: RowStream, plan: SplitPlan, of: str | None = None) -> None:
        self._stream = stream
        self._plan = plan
        self._of = of
        self.schema = stream.schema
        self._splitter: Splitter | None = None
        names = list(plan.fractions)
        if of is None:
            self.splits: Sequence[str] = names
            return
        check_splits(stream, [of])
        at = list(stream.splits).index(of)
        before, after = list(stream.splits)[:at], list(stream.splits)[at + 1 :]
        self.splits = [*before, *names, *after]
        twice = [one for one in names if one in before or one in after]
        if twice:
            raise InvalidInput(
                f"There is a split '{twice[0]}' already; give the new one another name.",
                param="split",
            )

    def rows(self) -> Rows:
        """The shared out rows."""
        if self._splitter is None:
            splitter = Splitter(self.schema, self._plan)
            for name, batch in self._stream.rows():
                if self._of in (None, name):
                    splitter.look(batch)
            splitter.settle()
            self._splitter = splitter
        for name, batch in self._stream.rows():
            if self._of in (None, name):
                yield from self._splitter.share(batch)
            else:
                yield name, batch


class Joined:
    """Several splits as one, in the order that they have."""

    def __init__(self, stream: RowStream, names: Sequence[str], to: str) -> None:
        check_splits(stream, names)
        self._stream = stream
        self._names = frozenset(names)
        self._to = to
        self.schema = stream.schema
        others = [one for one in stream.splits if one not in self._names]
        if to in others:
            raise InvalidInput(
                f"There is a split '{to}' already; join it as well, or name the new one otherwise.",
                param="join",
            )
        first = next(at for at, one in enumerate(stream.splits) if one in self._names)
        self.splits: Sequence[str] = [*others[:first], to, *others[first:]]

    def rows(self) -> Rows:
        """The joined rows."""
        for name, batch in self._stream.rows():
            yield (self._to if name in self._names else name), batch


class OnlySplits:
    """Some splits alone."""

    def __init__(self, stream: RowStream, names: Sequence[str]) -> None:
        check_splits(stream, names)
        self._stream = stream
        self.schema = stream.schema
        self.splits: Sequence[str] = [one for one in stream.splits if one in names]

    def rows(self) -> Rows:
        """Their rows."""
        return ((name, batch) for name, batch in self._stream.rows() if name in self.splits)


class Filtered:
    """The rows for which an expression is true."""

    def __init__(self, stream: RowStream, expression: str) -> None:
        self._stream = stream
        self._condition = expressions.parse(expression)
        self.schema = stream.schema
        self.splits = stream.splits
        filtering.check_filter(self.schema, self._condition)

    def rows(self) -> Rows:
        """Those rows."""
        for name, batch in self._stream.rows():
            kept = batch.filter(filtering.kept_rows(self.schema, self._condition, batch))
            if len(kept):
                yield name, kept


class Sampled:
    """A share of the rows of each split, chosen by their content and a seed."""

    def __init__(self, stream: RowStream, fraction: float, seed: int) -> None:
        self._stream = stream
        self._bound = np.uint64(int(fraction * 2**64))
        self._seed = mixed(np.array([seed], dtype=np.uint64) + np.uint64(1))
        self.schema = stream.schema
        self.splits = stream.splits

    def rows(self) -> Rows:
        """Those rows."""
        columns = telling(self.schema)
        for name, batch in self._stream.rows():
            places = mixed(row_hashes(columns, batch) ^ self._seed)
            kept = batch.filter(pa.array(places < self._bound))
            if len(kept):
                yield name, kept


class Distinct:
    """The first of rows with the same content (ids aside), over all splits in their order.

    Of each row 8 bytes are kept while rows are compared; two different rows among ten million are
    taken for one with a chance of three in a million.
    """

    def __init__(self, stream: RowStream) -> None:
        self._stream = stream
        self.schema = stream.schema
        self.splits = stream.splits
        self._is_first: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None

    def rows(self) -> Rows:
        """Those rows."""
        if self._is_first is None:
            self._is_first = self._look()
        at = 0
        for name, batch in self._stream.rows():
            kept = batch.filter(pa.array(self._is_first[at : at + len(batch)]))
            at += len(batch)
            if len(kept):
                yield name, kept

    def _look(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        columns = telling(self.schema)
        order = {name: at for at, name in enumerate(self.splits)}
        hashes, places = [], []
        rows = 0
        for name, batch in self._stream.rows():
            rows += len(batch)
            if rows > MAX_EXACT_ROWS:
                raise InvalidInput(
                    f"There are more than {MAX_EXACT_ROWS:,} rows; so many cannot be compared with "
                    "each other. Take 'distinct' out.",
                    param="steps",
                )
            hashes.append(row_hashes(columns, batch))
            places.append(np.full(len(batch), order[name], dtype=np.int8))
        is_first = np.zeros(rows, dtype=np.bool_)
        if rows:
            by_split = np.argsort(np.concatenate(places), kind="stable")
            _, first = np.unique(np.concatenate(hashes)[by_split], return_index=True)
            is_first[by_split[first]] = True
        return is_first


class Appended:
    """The rows of several streams, one after the other; splits of the same name are one."""

    def __init__(self, streams: Sequence[RowStream]) -> None:
        self._streams = streams
        self.schema = _common(streams)
        self.splits: Sequence[str] = list(
            dict.fromkeys(name for one in streams for name in one.splits)
        )

    def rows(self) -> Rows:
        """All rows."""
        for stream in self._streams:
            for name, batch in stream.rows():
                yield name, _adapted(self.schema, stream.schema, batch)


def check_splits(stream: RowStream, names: Sequence[str]) -> None:
    """See that there are such splits.

    Raises:
        InvalidInput: there is none of that name.
    """
    for name in names:
        if name not in stream.splits:
            raise InvalidInput(
                f"There is no split '{name}'; there are {', '.join(stream.splits)[:500]}.",
                param="split",
            )


def _common(streams: Sequence[RowStream]) -> Schema:
    """The columns of the first; the others must have the same."""
    first, *others = [one.schema for one in streams]
    columns = []
    for column in first.columns:
        classes = list(column.classes)
        is_nullable = column.is_nullable
        for other in others:
            found = other.find(column.name)
            if found is None or _kind(found) != _kind(column):
                told = "has none" if found is None else f"has one of the type {_told(found)}"
                raise InvalidInput(
                    f"Only datasets with the same columns can be appended: one has the column "
                    f"'{column.name}' of the type {_told(column)}, another {told}.",
                    param="from",
                )
            classes += [one for one in found.classes if one not in classes]
            is_nullable = is_nullable or found.is_nullable
        columns.append(
            Column(
                column.name,
                column.type,
                column.role,
                is_nullable,
                tuple(classes),
                column.shape,
                column.dtype,
            )
        )
    for other in others:
        for column in other.columns:
            if first.find(column.name) is None:
                raise InvalidInput(
                    "Only datasets with the same columns can be appended: one has a column "
                    f"'{column.name}', the first has none. Leave it out with 'drop' first.",
                    param="from",
                )
    return Schema(tuple(columns))


def _kind(column: Column) -> tuple[object, ...]:
    return column.type, column.shape, column.dtype, bool(column.classes)


def _told(column: Column) -> str:
    shape = f" {list(column.shape)} of {column.dtype}" if column.shape else ""
    return f"{column.type}{shape}{' with classes' if column.classes else ''}"


def _adapted(schema: Schema, own: Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with the common columns; numbers of boxes' classes are those of the common list."""
    if own == schema:
        return batch
    arrays = []
    for column in schema.columns:
        array = batch.column(column.name)
        before = own.find(column.name)
        assert before is not None
        if column.type is ColumnType.BOXES and before.classes != column.classes:
            array = _renumbered(array, before.classes, column.classes)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=forms.arrow_schema(schema))


def _renumbered(
    array: pa.ListArray, before: tuple[str, ...], after: tuple[str, ...]
) -> pa.ListArray:
    numbers = np.array([after.index(one) for one in before], dtype=np.int32)
    boxes = array.flatten()
    labels = numbers[boxes.field("label").to_numpy(zero_copy_only=False)]
    made = pa.StructArray.from_arrays(
        [pa.array(labels, pa.int32()), *(boxes.field(one) for one in forms.BOX_FIELDS[1:])],
        fields=list(forms.BOX),
    )
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), made, type=array.type, mask=array.is_null()
    )
