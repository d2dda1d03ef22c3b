"""CSV, read twice, block by block: first to see the types of all rows, then to give them."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from modelry.datasets.forms import arrow_schema
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.csv_text import NO_UTF8, Dialect, Utf8Stream, last_row, read_dialect
from modelry.datasets.importers.label_values import LabelValues
from modelry.datasets.importers.problems import Problems
from modelry.datasets.importers.roles import assign_roles, check_left_out, settled_roles
from modelry.datasets.importers.split_names import assign
from modelry.datasets.importers.text_types import TypeGuess, Values
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput, RowsInvalid

BLOCK_BYTES = 4 * 2**20
"""How much is parsed at once; no row may be longer."""


def open_files(request: ImportRequest) -> Source:
    """Tables of text; all files have the same columns.

    Raises:
        InvalidInput: a file cannot be read, or its columns differ from the others'.
        RowsInvalid: there are bad rows, and they are to be refused.
    """
    return CsvSource(request)


class CsvSource:
    """Implements `Source`."""

    def __init__(self, request: ImportRequest) -> None:
        self.problems = request.problems
        self._request = request
        self._values = Values(request.options.null_values)
        self._files = assign(list(request.files), request.options.splits)
        self._dialects = {
            name: read_dialect(path, name, request.options) for name, path in request.files.items()
        }
        names = _same_names(self._dialects)
        check_left_out(names, request.options)
        self._names = tuple(one for one in names if one not in request.options.leave_out)
        said = {name: request.options.column_types().get(name) for name in self._names}
        self._roles = assign_roles(said, request.options)
        self._said = {name: kind for name, kind in said.items() if kind is not None}
        if ColumnType.IMAGE in self._said.values():
            raise InvalidInput("Columns of CSV files hold no images.", param="types")
        self.schema = self._inferred()

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._files)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        schema = arrow_schema(self.schema)
        for name in self._files[split]:
            for cells in self._good_rows(name, Problems(skip=True), "reading"):
                arrays = [
                    self._read(one, column)
                    for one, column in zip(cells, self.schema.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _read(self, cells: pa.Array, column: Column) -> pa.Array:
        if column.classes and (kind := self._kinds[column.name]) is not ColumnType.TEXT:
            return as_names(self._values.read(cells, kind))
        return self._values.read(cells, column.type)

    def _inferred(self) -> Schema:
        guesses = {name: TypeGuess(self._values) for name in self._names}
        labels = {
            name: LabelValues() for name, role in self._roles.items() if role is ColumnRole.LABEL
        }
        for split, files in self._files.items():
            self.problems.begin(split)
            rows = 0
            for file in files:
                for cells in self._good_rows(file, self.problems, "checking"):
                    rows += len(cells[0])
                    for name, one in zip(self._names, cells, strict=True):
                        guesses[name].add(one)
                        if name in labels:
                            labels[name].add(one)
            self.problems.settle()
            if not rows:
                raise InvalidInput(
                    f"{', '.join(files)} {'has' if len(files) == 1 else 'have'} no row that can be "
                    "used; expected at least one below the header.",
                    param="files",
                )
        self._kinds = {name: self._said.get(name, guesses[name].kind) for name in self._names}
        columns = tuple(self._column(name, guesses[name], labels) for name in self._names)
        return Schema(settled_roles(columns, self._request.options))

    def _column(self, name: str, guess: TypeGuess, labels: dict[str, LabelValues]) -> Column:
        kind = self._kinds[name]
        is_nullable = guess.is_nullable_as(kind)
        if guess.surprise is not None and name not in self._said:
            was, place, cell = guess.surprise
            self.problems.note(
                f"type {name}",
                f"Column '{name}' is text: its first {place} values are {was.value}s, then comes "
                f"'{cell[:40]}'. To leave such rows out, import with types={{{name}: {was.value}}} "
                "and on_bad_rows=skip.",
            )
        if name in labels:
            named = labels[name]
            if kind is not ColumnType.TEXT:
                named = _renamed(named, self._values, kind)
            return named.column(
                name, kind, self._request.options, self.problems, is_nullable=is_nullable
            )
        return Column(name, kind, self._roles[name], is_nullable=is_nullable)

    def _good_rows(self, name: str, problems: Problems, phase: str) -> Iterator[list[pa.Array]]:
        """Cells by column, in the order of `_names`, of the rows that can be used."""
        dialect = self._dialects[name]
        order = [dialect.names.index(one) for one in self._names]
        numbers = RowNumbers(1 if dialect.has_header else 0)
        seen = empty = 0
        for batch, is_marked in self._batches(name, dialect, problems, numbers, phase):
            columns = batch.columns
            bad = _no_utf8(columns) if is_marked else {}
            for column, kind in self._said.items():
                for place in self._values.unfit(columns[dialect.names.index(column)], kind):
                    cell = columns[dialect.names.index(column)][place].as_py()
                    bad.setdefault(place, f"'{cell[:40]}' in column '{column}' is no {kind.value}")
            for place in sorted(bad):
                problems.bad(name, f"row {numbers.of(seen + place)}", bad[place])
            seen += batch.num_rows
            if bad:
                keep = pa.array([place not in bad for place in range(batch.num_rows)], pa.bool_())
                columns = [one.filter(keep) for one in columns]
            filled = _without_empty(columns)
            empty += len(columns[0]) - len(filled[0])
            if len(filled[0]) and not problems.is_refused:
                yield [filled[place] for place in order]
        if empty:
            problems.note(f"empty rows {name}", f"{name}: {empty} empty rows were left out.")

    def _batches(
        self, name: str, dialect: Dialect, problems: Problems, numbers: RowNumbers, phase: str
    ) -> Iterator[tuple[pa.RecordBatch, bool]]:
        """Batches of cells without the header and the last row of our own.

        With each, whether bytes that are no UTF-8 were marked by then.
        """
        word, line = last_row(dialect)
        path = self._request.files[name]
        size = path.stat().st_size
        with Utf8Stream(path, name, dialect.encoding, line) as stream:
            batches = self._parsed(stream, name, dialect, _Ragged(name, problems, numbers, word))
            held: pa.RecordBatch | None = None
            for batch in batches:
                if held is not None:
                    yield held, stream.is_marked
                held = batch
                self._request.watch(phase, min(stream.bytes_read, size), size)
            if held is None or held.column(0)[held.num_rows - 1].as_py() != word:
                problems.bad(
                    name,
                    "its last row",
                    "a quoted cell is never closed, so that it holds all that follows",
                )
            elif held.num_rows > 1:
                yield held[: held.num_rows - 1], stream.is_marked

    def _parsed(
        self, stream: Utf8Stream, name: str, dialect: Dialect, ragged: _Ragged
    ) -> Iterator[pa.RecordBatch]:
        columns = [str(place) for place in range(len(dialect.names))]
        options = self._request.options
        is_header_left = dialect.has_header
        try:
            reader = arrow_csv.open_csv(
                stream,
                read_options=arrow_csv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, column_names=columns
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=options.quote,
                    newlines_in_values=True,
                    ignore_empty_lines=False,  # they count as rows; `_without_empty` drops them
                    invalid_row_handler=ragged,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.utf8()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            )
            for batch in reader:
                if is_header_left and batch.num_rows:
                    is_header_left = False
                    batch = batch[1:]  # noqa: PLW2901 - the header is read as any row
                if batch.num_rows:
                    yield batch
        except pa.ArrowInvalid as error:
            if ragged.error is not None:
                raise ragged.error from None
            too_long = "straddling" in str(error)
            raise InvalidInput(
                f"The file '{name}' cannot be read: "
                + (
                    f"one of its rows is longer than {BLOCK_BYTES // 2**20} MiB, or a quote is "
                    "never closed."
                    if too_long
                    else f"{str(error)[:200]}."
                ),
                param=name,
            ) from None


class RowNumbers:
    """Which row of a file a good one is, counting the header and the bad ones."""

    def __init__(self, header_rows: int) -> None:
        self._header_rows = header_rows
        self._ragged = array("q")

    def skip(self, number: int) -> None:
        """Row `number` (from 1) is not among the good ones; told in order."""
        self._ragged.append(number)

    def of(self, place: int) -> int:
        """The number of the good row at `place` (from 0)."""
        plain = place + 1 + self._header_rows
        number = plain
        while (moved := plain + bisect_right(self._ragged, number)) != number:
            number = moved
        return number


class _Ragged:
    """Takes rows with too few or too many cells from the parser, which must not see it raise.

    `last_word` is the first cell of the last row of our own.
    """

    def __init__(self, name: str, problems: Problems, numbers: RowNumbers, last_word: str) -> None:
        self._name = name
        self._problems = problems
        self._numbers = numbers
        self._last_word = last_word
        self.error: RowsInvalid | None = None

    def __call__(self, row: arrow_csv.InvalidRow) -> str:
        """`skip`, or `error` when there are too many."""
        text = row.text
        if self._last_word in text:
            return "skip"  # an open quote, which the one who misses the last row tells
        self._numbers.skip(row.number)
        try:
            self._problems.bad(
                self._name,
                f"row {row.number}",
                f"it has {row.actual_columns} cells, the header {row.expected_columns}",
            )
        except RowsInvalid as error:
            self.error = error
            return "error"
        return "skip"


def _no_utf8(columns: Sequence[pa.Array]) -> dict[int, str]:
    """What is wrong with rows in which bytes were marked as no UTF-8."""
    return {
        place: "a cell in it holds bytes that are no UTF-8"
        for column in columns
        for place in pc.indices_nonzero(
            pc.fill_null(pc.match_substring(column, NO_UTF8), fill_value=False)
        ).to_pylist()
    }


def _without_empty(columns: list[pa.Array]) -> list[pa.Array]:
    """The rows in which some cell is filled."""
    if not all(one.null_count for one in columns):
        return columns
    filled = reduce(pc.or_, (pc.is_valid(one) for one in columns))
    return [one.filter(filled) for one in columns]


def _same_names(dialects: dict[str, Dialect]) -> tuple[str, ...]:
    """The columns that all files have, in the order of the first.

    Raises:
        InvalidInput: files differ.
    """
    first_file, first = next(iter(dialects.items()))
    for file, dialect in dialects.items():
        different = set(first.names) ^ set(dialect.names)
        if different:
            raise InvalidInput(
                f"'{file}' and '{first_file}' have different columns: only one of them has "
                f"'{min(different)}'.",
                param=file,
            )
    return first.names


def _renamed(found: LabelValues, values: Values, kind: ColumnType) -> LabelValues:
    """The label's values as text, after they were read as `kind`."""
    return found.mapped(lambda texts: as_names(values.read(texts, kind)))


def as_names(array_: pa.Array) -> pa.Array:
    """Values as names of classes: `3`, `true`, `0.5`."""
    return array_.cast(pa.utf8())
