"""Bytes that arrive in pieces, as lines, server-sent events or JSON values.

Lines end at line feeds alone: JSON may hold other characters that text functions break lines at.
"""

from __future__ import annotations

import json
from typing import Any

from modelry.client.errors import UnexpectedAnswer

MAX_LINE_BYTES = 64 * 2**20


class LineSplitter:
    """Cuts a byte stream at line feeds; a carriage return before one belongs to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes.

        Raises:
            UnexpectedAnswer: a line is longer than any answer has.
        """
        *complete, rest = chunk.split(b"\n")
        lines = []
        if complete:
            complete[0] = b"".join(self._parts) + complete[0]
            self._parts, self._held = [], 0
            lines = [line.removesuffix(b"\r") for line in complete]
        self._held += len(rest)
        if self._held > MAX_LINE_BYTES:
            raise UnexpectedAnswer(f"The server sent a line of more than {MAX_LINE_BYTES} bytes.")
        if rest:
            self._parts.append(rest)
        return lines

    @property
    def rest(self) -> bytes:
        """What came after the last line feed."""
        return b"".join(self._parts)


class EventSplitter:
    """The data of server-sent events; comments and other fields are skipped."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes."""
        events = []
        for line in self._lines.feed(chunk):
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
        return events


def json_object(raw: bytes) -> dict[str, Any]:
    """One JSON object of a stream.

    Raises:
        UnexpectedAnswer: it is none.
    """
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnexpectedAnswer("The server's stream holds something that is no JSON object.")
    return value
