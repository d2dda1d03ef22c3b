"""A multipart form with one file, taken apart while it is still being sent."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from modelry.domain.errors import InvalidInput, MalformedBody

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Its warnings tell of damaged forms, which callers are told of already.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

FILE = "file"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096
SLICE_BYTES = 2**18
"""How much is parsed at once: what was found of the file waits in memory until it is taken."""


class FileForm:
    """The fields of a form, and the bytes of its file as they come.

    First `until_file`, then `file_bytes`, then the rest is read by `rest`; each may raise what the
    body raises, and `MalformedBody`.

    Args:
        content_type: the header, which names the boundary.
        body: the form.

    Raises:
        MalformedBody: the header names no form.
    """

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise MalformedBody(
                f"The body is declared as '{content_type[:80]}'; send a form, with the header "
                "'Content-Type: multipart/form-data; boundary=…'.",
                param="content-type",
            )
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        """None as long as no file came."""
        self._body = body
        self._found: deque[bytes] = deque()
        self._is_in_file = self._is_past_file = self._is_complete = False
        self._disposition, self._header = b"", b""
        self._name, self._value = "", bytearray()
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_disposition,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise MalformedBody("The form's boundary is longer than is read.") from None

    async def until_file(self) -> None:
        """Read up to the file, or to the end where there is none."""
        while self.file_name is None and await self._more():
            pass

    async def file_bytes(self) -> AsyncIterator[bytes]:
        """The file's bytes as they come."""
        while True:
            while self._found:
                yield self._found.popleft()
            if self._is_past_file:
                return
            if not await self._more():
                raise _cut_off()

    async def rest(self) -> None:
        """Read to the end.

        Raises:
            MalformedBody: the form has no end.
        """
        while await self._more():
            pass
        if not self._is_complete:
            raise _cut_off()

    async def _more(self) -> bool:
        """Parse some more; False at the body's end."""
        try:
            data = await anext(self._body)
        except StopAsyncIteration:
            return False
        try:
            for start in range(0, len(data), SLICE_BYTES):
                self._parser.write(data[start : start + SLICE_BYTES])
        except FormParserError:
            raise MalformedBody("The multipart form cannot be read: it is damaged.") from None
        return True

    # ---- the parser's callbacks -------------------------------------------------------------

    def _begin_part(self) -> None:
        self._disposition, self._header = b"", b""
        self._name, self._value = "", bytearray()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_disposition(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _end_header(self) -> None:
        self._header = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = _text(options.get(b"name", b""), "a field's name")
        if not self._name:
            raise MalformedBody("A part of the form has no name in its Content-Disposition.")
        if b"filename" not in options:
            if len(self.fields) >= MAX_FIELDS or self._name in self.fields:
                raise MalformedBody(
                    f"The form has more than {MAX_FIELDS} fields, or '{self._name[:80]}' twice."
                )
            self.fields[self._name] = ""
            return
        if self._name != FILE or self.file_name is not None:
            raise InvalidInput(
                f"The form has a file in '{self._name[:80]}'; send one file, in '{FILE}'.",
                param=self._name[:80],
            )
        name = _text(options[b"filename"], "the file's name")
        self.file_name = re.split(r"[/\\]", name)[-1]
        self._is_in_file = True

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._found.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise MalformedBody(
                f"The field '{self._name[:80]}' has more than {MAX_FIELD_BYTES} bytes; a file is "
                "sent with a file name.",
                param=self._name[:80],
            )

    def _end_part(self) -> None:
        if self._is_in_file:
            self._is_in_file, self._is_past_file = False, True
        else:
            self.fields[self._name] = _text(bytes(self._value), f"the field '{self._name[:80]}'")

    def _end(self) -> None:
        self._is_complete = True


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedBody(f"In the form, {what} is not UTF-8.") from None


def _cut_off() -> MalformedBody:
    return MalformedBody(
        "The multipart form cannot be read: it is cut off, its closing boundary is missing."
    )
