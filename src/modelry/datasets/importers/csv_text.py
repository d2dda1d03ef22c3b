"""CSV text as a stream of UTF-8 with a last row of our own, and its header."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from modelry.datasets.importers.options import CsvOptions
from modelry.datasets.importers.roles import check_names
from modelry.datasets.importers.streams import open_stream
from modelry.domain.errors import InvalidInput

MAX_HEADER_BYTES = 2**20
_DELIMITERS = (",", ";", "\t", "|")
_CHUNK = 2**20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = frozenset({"utf-8", "utf-8-sig"})
NO_UTF8 = "\ufdd0"
"""Stands for bytes that are no UTF-8; Unicode keeps it from meaning anything."""

_MARKING = "modelry-mark-no-utf8"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is to be read.

    `names` are its columns, `has_header` whether its first row is to be left out.
    """

    encoding: str
    delimiter: str
    names: tuple[str, ...]
    has_header: bool


class Utf8Stream(io.RawIOBase):
    """A text file as UTF-8 without a mark, ended by `last_row` on a line of its own.

    The last row tells whether the quotes of all rows before it are closed: if one is not, the
    row is part of its cell.

    Args:
        path: the file.
        name: for messages.
        encoding: of the file.
        last_row: in UTF-8.
    """

    def __init__(self, path: Path, name: str, encoding: str, last_row: bytes) -> None:
        self._inner = open_stream(path, name)
        self._name = name
        self._encoding = encoding
        errors = _MARKING if encoding in _UTF8 else "strict"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._is_plain = encoding in _UTF8  # nothing of a letter was left from the bytes before
        codecs.register_error(_MARKING, self._mark)
        self.is_marked = False
        self._last_row = last_row
        self._pending = b""
        self._ends_line = True
        self._is_at_end = False
        self.bytes_read = 0
        if encoding in _UTF8 and self._inner.peek(3)[:3] == codecs.BOM_UTF8:
            self._inner.read(3)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        while not self._pending and not self._is_at_end:
            self._pending = self._next()
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        """Close the file too."""
        self._inner.close()
        super().close()

    def _next(self) -> bytes:
        data = self._inner.read(_CHUNK)
        self.bytes_read += len(data)
        if self._is_plain and data.isascii():
            text = data
        else:
            text = self._decoded(data)
            self._is_plain = self._encoding in _UTF8 and not self._decoder.getstate()[0]
        if text:
            self._ends_line = text.endswith((b"\n", b"\r"))
        if not data:
            self._is_at_end = True
            return text + (b"" if self._ends_line else b"\n") + self._last_row
        return text

    def _decoded(self, data: bytes) -> bytes:
        try:
            return self._decoder.decode(data, final=not data).encode()
        except (UnicodeError, ValueError):
            raise InvalidInput(
                f"The file '{self._name}' is no text in the encoding {self._encoding}, somewhere "
                f"in the {len(data)} bytes before byte {self.bytes_read}. Give the right encoding.",
                param="encoding",
            ) from None

    def _mark(self, error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        self.is_marked = True
        return NO_UTF8, error.end


def read_dialect(path: Path, name: str, options: CsvOptions) -> Dialect:
    """How a file is to be read, by its options and its first row.

    Raises:
        InvalidInput: an unknown encoding, no text, or no usable header.
    """
    with open_stream(path, name) as file:
        head = file.read(MAX_HEADER_BYTES)
    if not head:
        raise InvalidInput(f"The file '{name}' is empty.", param=name)
    encoding = options.encoding or next((one for mark, one in _MARKS if head.startswith(mark)), "")
    encoding = _known(encoding or "utf-8")
    if encoding in _UTF8 and b"\0" in head:
        raise InvalidInput(
            f"The file '{name}' holds bytes of 0: it is no text, or one in another encoding than "
            "UTF-8. Save it as UTF-8, or give its encoding.",
            param="encoding",
        )
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding in _UTF8 else encoding)
    text = decoder("replace").decode(head)
    line = _first_row(text, options.quote)
    delimiter = options.delimiter or _delimiter(line, name, options.quote)
    cells = _cells(line, delimiter, name, options)
    if options.header is False:
        names = tuple(f"column_{i}" for i in range(1, len(cells) + 1))
        return Dialect(encoding, delimiter, names, has_header=False)
    if isinstance(options.header, list):
        if len(options.header) != len(cells):
            raise InvalidInput(
                f"The first row of '{name}' has {len(cells)} cells; the header that was given has "
                f"{len(options.header)}.",
                param="header",
            )
        check_names(options.header, name)
        return Dialect(encoding, delimiter, tuple(options.header), has_header=False)
    if cells and cells[0] == "":
        cells[0] = "row"  # the index that pandas writes
    if all(_is_number(one) for one in cells[1:] or cells):
        raise InvalidInput(
            f"The first row of '{name}' is no header: it holds numbers ({', '.join(cells[:5])}). "
            "Import with header=false, or give the names of the columns as header.",
            param="header",
        )
    if "\N{REPLACEMENT CHARACTER}" in line:
        raise InvalidInput(
            f"The header of '{name}' is no text in the encoding {encoding}; give its encoding, "
            "such as encoding=cp1252.",
            param="encoding",
        )
    check_names(cells, name)
    return Dialect(encoding, delimiter, tuple(cells), has_header=True)


def last_row(dialect: Dialect) -> tuple[str, bytes]:
    """A row that no file has: its first cell, and the whole line."""
    word = f"end-of-file-{uuid4().hex}"
    return word, (word + dialect.delimiter * (len(dialect.names) - 1) + "\n").encode()


def _known(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
        "x".encode(info.name)  # not a codec from bytes to bytes, such as zlib
        for errors in ("replace", "strict"):
            codecs.getincrementaldecoder(info.name)(errors).decode(b"x")
    except (LookupError, ValueError):
        raise InvalidInput(
            f"There is no text encoding '{encoding}'; expected one such as utf-8, utf-16, cp1252.",
            param="encoding",
        ) from None
    return info.name


def _first_row(text: str, quote: str) -> str:
    """The text up to the first line end that stands outside quotes."""
    is_quoted = False
    for place, letter in enumerate(text):
        if letter == quote:
            is_quoted = not is_quoted
        elif letter in "\r\n" and not is_quoted:
            return text[:place]
    return text


def _delimiter(line: str, name: str, quote: str) -> str:
    if name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    outside = "".join(line.split(quote)[::2])
    best = max(_DELIMITERS, key=outside.count)
    return best if outside.count(best) else ","


def _cells(line: str, delimiter: str, name: str, options: CsvOptions) -> list[str]:
    if delimiter in ("\r", "\n", options.quote) or ord(max(delimiter, options.quote)) > 127:
        raise InvalidInput(
            "Delimiter and quote must be two different ASCII characters other than line ends.",
            param="delimiter",
        )
    try:
        rows = list(csv.reader([line], delimiter=delimiter, quotechar=options.quote))
    except csv.Error as error:
        raise InvalidInput(
            f"The first row of '{name}' cannot be read: {error}.", param=name
        ) from None
    if not rows or not rows[0] or len(line) >= MAX_HEADER_BYTES:
        raise InvalidInput(
            f"The first row of '{name}' is empty or longer than {MAX_HEADER_BYTES} characters; "
            "expected the names of the columns.",
            param=name,
        )
    return [cell.strip() for cell in rows[0]]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
