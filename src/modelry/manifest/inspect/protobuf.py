"""A reader of the protobuf wire format that visits fields and skips their content.

It knows nothing of messages: callers walk the fields of a byte range and descend into the
ranges they care about. Work is bounded by a budget of fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from modelry.domain.errors import FileRefused
from modelry.manifest.inspect.window import ByteWindow

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 2_000_000
_LONGEST_FIELD_HEAD = 20  # bytes: a tag and a length or value, 10 each at most


class Field(NamedTuple):
    """One field: `value` is the number of a VARINT; `start`..`end` are the others' bytes."""

    number: int
    wire: int
    value: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.end - self.start


@cache
def _run_of(tag: int, wire: int) -> re.Pattern[bytes]:
    """Matches consecutive fields with the same one-byte tag, whole fields only."""
    content = {
        VARINT: rb"[\x80-\xff]{0,9}[\x00-\x7f]",
        FIXED64: rb"[\x00-\xff]{8}",
        FIXED32: rb"[\x00-\xff]{4}",
    }[wire]
    return re.compile(b"(?:" + re.escape(bytes([tag])) + content + b")+")


class ProtobufReader:
    """Walks protobuf messages in a file."""

    def __init__(self, window: ByteWindow, what: str) -> None:
        self._window = window
        self._what = what
        self._budget = MAX_FIELDS

    def fields(self, start: int, end: int, *, skim: bool = False) -> Iterator[Field]:
        """The fields of the message at `start`..`end`.

        Args:
            start: offset of the message's first byte.
            end: offset after its last byte.
            skim: leave out repetitions of a scalar field (decision trees hold a million).

        Raises:
            FileRefused: malformed, cut off, or too many fields.
        """
        position = start
        previous = -1
        while position < end:
            if skim and previous >= 0:
                position = self._after_run(previous, position, end)
                previous = -1
                continue
            self._budget -= 1
            if self._budget < 0:
                raise self._window.refused(
                    f"it has more than {MAX_FIELDS} fields; no {self._what} of that shape is "
                    "accepted."
                )
            field, position = self._field(position, end)
            if skim and field.wire != BYTES and field.number < 16:
                previous = field.number << 3 | field.wire
            yield field

    def text(self, field: Field, limit: int) -> str:
        """The UTF-8 text of a field.

        Raises:
            FileRefused: not a text field, longer than `limit` bytes, or not UTF-8.
        """
        if field.wire != BYTES or field.size > limit:
            raise self._window.refused(
                f"field {field.number} should be a text of at most {limit} bytes; it is not a "
                f"valid {self._what}."
            )
        try:
            return self._window.read(field.start, field.size).decode()
        except UnicodeDecodeError:
            raise self._malformed(field.start, "text that is not UTF-8") from None

    def message(self, field: Field, *, skim: bool = False) -> Iterator[Field]:
        """The fields of an embedded message.

        Raises:
            FileRefused: not an embedded message, or as `fields`.
        """
        if field.wire != BYTES:
            raise self._malformed(field.start, "a number where a message should be")
        return self.fields(field.start, field.end, skim=skim)

    def packed_varints(self, field: Field, limit: int) -> list[int]:
        """The numbers of a repeated integer field, packed or single.

        Raises:
            FileRefused: more than `limit`, or malformed.
        """
        if field.wire == VARINT:
            return [field.value]
        found: list[int] = []
        position = field.start
        while position < field.end:
            chunk, at = self._window.chunk_at(position, 10)
            value, used = self._varint(chunk, at, position)
            position += used
            found.append(value)
            if position > field.end or len(found) > limit:
                raise self._malformed(field.start, "a list that is too long")
        return found

    def _after_run(self, tag: int, position: int, end: int) -> int:
        chunk, at = self._window.chunk_at(position, _LONGEST_FIELD_HEAD)
        found = _run_of(tag, tag & 7).match(chunk, at, min(len(chunk), at + end - position))
        return position if found is None else position + found.end() - at

    def _field(self, position: int, end: int) -> tuple[Field, int]:
        chunk, at = self._window.chunk_at(position, _LONGEST_FIELD_HEAD)
        tag, used = self._varint(chunk, at, position)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise self._malformed(position, f"field number {number}")
        after = position + used
        value = 0
        if wire == VARINT:
            value, used = self._varint(chunk, at + used, position)
            start = stop = after + used
        elif wire == BYTES:
            size, used = self._varint(chunk, at + used, position)
            start = after + used
            stop = start + size
        elif wire in (FIXED32, FIXED64):
            start, stop = after, after + (4 if wire == FIXED32 else 8)
        else:
            raise self._malformed(position, f"wire type {wire}")
        if stop > end:
            if stop > self._window.size:
                raise self._window.truncated(f"field {number} of its {self._what} structure")
            raise self._malformed(position, "a field that is longer than its message")
        return Field(number, wire, value, start, stop), stop

    def _varint(self, chunk: bytes, at: int, position: int) -> tuple[int, int]:
        value = shift = 0
        for index in range(at, min(at + 10, len(chunk))):
            byte = chunk[index]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, index - at + 1
            shift += 7
        if len(chunk) - at < 10:
            raise self._window.truncated(f"a number of its {self._what} structure")
        raise self._malformed(position, "a number that never ends")

    def _malformed(self, position: int, what: str) -> FileRefused:
        return self._window.refused(
            f"it is not a valid {self._what} file: {what} at byte {position}. If it was renamed or "
            "damaged on its way, fetch or export it again."
        )
