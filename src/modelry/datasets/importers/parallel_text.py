"""Parallel text: pairs of texts in two files, in columns between tabs, or in TMX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path, PurePosixPath

import pyarrow as pa

from modelry.datasets.importers.batches import RowBatches
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.split_names import assign
from modelry.datasets.importers.streams import open_stream
from modelry.datasets.importers.tmx import TmxPairs
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import InvalidInput

MAX_LINE_BYTES = 2**20
_MARK = b"\xef\xbb\xbf"

Pair = tuple[str, str, str, str]
"""Place, source, target, and why it cannot be used ("" if it can)."""


def open_files(request: ImportRequest) -> Source:
    """Pairs of a text and its counterpart, such as its translation.

    Raises:
        InvalidInput: files cannot be read, or do not go together.
    """
    by_split = assign(list(request.files), request.options.splits)
    return ParallelText(
        request, {split: _reader(request, split, names) for split, names in by_split.items()}
    )


class ParallelText:
    """Implements `Source`.

    Args:
        request: what to import.
        splits: gives the file and the pairs of each split.
    """

    def __init__(
        self,
        request: ImportRequest,
        splits: Mapping[str, Callable[[], Iterator[tuple[str, Pair]]]],
    ) -> None:
        self.problems = request.problems
        self._splits = splits
        self.schema = Schema(
            (
                Column("source", ColumnType.TEXT, ColumnRole.SOURCE),
                Column("target", ColumnType.TEXT, ColumnRole.TARGET),
            )
        )

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._splits)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        self.problems.begin(split)
        batches = RowBatches(self.schema, self.problems)
        for file, (place, source, target, told) in self._splits[split]():
            if not source and not target and not told:
                continue  # lines that are empty on both sides part paragraphs
            empty = "" if source and target else f"its {'target' if source else 'source'} is empty"
            if reason := told or empty:
                self.problems.bad(file, place, reason)
                continue
            yield from batches.add((source, target), len(source) + len(target))
        yield from batches.rest()
        self.problems.settle()


def _reader(
    request: ImportRequest, split: str, names: Sequence[str]
) -> Callable[[], Iterator[tuple[str, Pair]]]:
    """What reads the pairs of a split."""
    kinds = {_kind(name, request.files[name]) for name in names}
    if kinds == {"text"}:
        return _of_two_files(request, split, names)
    if len(kinds) > 1:
        raise InvalidInput(
            f"{', '.join(names)}: expected either TMX, or files with tabs, or two files of text.",
            param="files",
        )
    read = _tabbed if kinds == {"tabs"} else _translation_memory

    def pairs() -> Iterator[tuple[str, Pair]]:
        for name in names:
            for pair in read(request, name):
                yield name, pair

    return pairs


def _kind(name: str, path: Path) -> str:
    plain = name.lower().removesuffix(".gz")
    if plain.endswith(".tmx"):
        return "tmx"
    if plain.endswith((".tsv", ".tab")):
        return "tabs"
    with open_stream(path, name) as file:
        return "tabs" if b"\t" in file.readline(MAX_LINE_BYTES) else "text"


def _of_two_files(
    request: ImportRequest, split: str, names: Sequence[str]
) -> Callable[[], Iterator[tuple[str, Pair]]]:
    if len(names) != 2:
        where = f"split '{split}'" if split else "the import"
        raise InvalidInput(
            f"{len(names)} files of plain text for {where}; expected two: a line of one is the "
            "counterpart of the same line of the other.",
            param="files",
        )
    source, target = _in_order(names, request)

    def pairs() -> Iterator[tuple[str, Pair]]:
        ends: dict[str, int] = {}
        lines = zip_longest(_lines(request, source), _lines(request, target))
        for place, (one, other) in enumerate(lines, start=1):
            for name, line in ((source, one), (target, other)):
                if line is None:
                    ends.setdefault(name, place - 1)
            if one is None or other is None:
                continue
            reason = one[1] or other[1]
            yield source, (f"line {place}", one[0], other[0], reason)
        for name, count in ends.items():
            raise InvalidInput(
                f"'{name}' has {count} lines and its counterpart {place}: a line is missing "
                "somewhere, and all after it would be paired wrongly.",
                param=name,
            )

    return pairs


def _in_order(names: Sequence[str], request: ImportRequest) -> tuple[str, str]:
    """The file of the source and that of the target, by the languages in their names."""
    ends = {
        PurePosixPath(name.removesuffix(".gz")).suffix.removeprefix("."): name for name in names
    }
    said = (request.options.source_language, request.options.target_language)
    for at, language in enumerate(said):
        if language is not None:
            if language not in ends or len(ends) < 2:
                raise InvalidInput(
                    f"No file's name ends in '.{language}'; there are {', '.join(names)}.",
                    param=("source_language", "target_language")[at],
                )
            other = next(name for end, name in ends.items() if end != language)
            return (ends[language], other) if at == 0 else (other, ends[language])
    words = [PurePosixPath(name).stem.lower().replace(".", "-").split("-")[-1] for name in names]
    for at, word in enumerate(words):
        if word in ("source", "src") or words[1 - at] in ("target", "tgt", "trg"):
            return names[at], names[1 - at]
    raise InvalidInput(
        f"Which of {names[0]} and {names[1]} is the source is not said: give source_language as "
        "the end of its name (source_language=en for a file called train.en).",
        param="source_language",
    )


def _lines(request: ImportRequest, name: str) -> Iterator[tuple[str, str]]:
    """Lines without their ends, and why each cannot be used."""
    path = request.files[name]
    size = path.stat().st_size
    with open_stream(path, name) as file:
        place = done = 0
        while data := file.readline(MAX_LINE_BYTES + 1):
            place += 1
            done += len(data)
            if len(data) > MAX_LINE_BYTES:
                raise InvalidInput(
                    f"Line {place} of '{name}' is longer than {MAX_LINE_BYTES // 2**20} MiB.",
                    param=name,
                )
            if place == 1:
                data = data.removeprefix(_MARK)
            if place % 8192 == 0:
                request.watch("reading", min(done, size), size)
            try:
                yield data.decode().strip("\r\n "), ""
            except UnicodeDecodeError as error:
                yield "", f"byte {error.start + 1} is no UTF-8"


def _tabbed(request: ImportRequest, name: str) -> Iterator[Pair]:
    for place, (line, no_text) in enumerate(_lines(request, name), start=1):
        if place == 1 and request.options.header:
            continue
        parts = [part.strip() for part in line.split("\t")]
        source, target, uneven = "", "", ""
        if len(parts) == 2:
            source, target = parts
        elif line:
            uneven = f"it has {len(parts)} columns; expected a text, a tab and its counterpart"
        yield f"line {place}", source, target, no_text or uneven


def _translation_memory(request: ImportRequest, name: str) -> Iterator[Pair]:
    options = request.options
    pairs = TmxPairs(name, options.source_language, options.target_language)
    path = request.files[name]
    size = path.stat().st_size
    done = 0
    with open_stream(path, name) as file:
        while data := file.read(2**16):
            done += len(data)
            yield from pairs.feed(data)
            request.watch("reading", min(done, size), size)
        yield from pairs.close()
