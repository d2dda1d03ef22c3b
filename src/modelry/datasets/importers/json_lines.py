"""Files with a JSON object a line, read one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from modelry.datasets.importers.contract import ImportRequest
from modelry.datasets.importers.json_values import shown
from modelry.datasets.importers.streams import open_stream
from modelry.domain.errors import InvalidInput

MAX_LINE_BYTES = 8 * 2**20
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank.

    Attributes:
        place: its number, from 1.
        row: the object; None when it is none.
        size_bytes: how long it is; 0 when it holds no object.
        reason: why it is none, for people; empty when it is one.
    """

    place: int
    row: Any
    size_bytes: int
    reason: str = ""


def json_lines(request: ImportRequest, name: str, phase: str) -> Iterator[Line]:
    """All lines of a file of `request` that are not blank.

    Raises:
        InvalidInput: the file cannot be read, is one JSON list, or has a line that is too long.
    """
    path = request.files[name]
    size = path.stat().st_size
    with open_stream(path, name) as file:
        place = done = 0
        while data := file.readline(MAX_LINE_BYTES + 1):
            place += 1
            done += len(data)
            if len(data) > MAX_LINE_BYTES:
                raise InvalidInput(
                    f"Line {place} of '{name}' is longer than {MAX_LINE_BYTES // 2**20} MiB; "
                    "expected a JSON object per line.",
                    param=name,
                )
            if place == 1:
                data = data.removeprefix(_MARK)
                if data.lstrip().startswith(b"["):
                    raise InvalidInput(
                        f"'{name}' holds a JSON list; expected a JSON object per line, with "
                        "no commas between them.",
                        param=name,
                    )
            if place % 4096 == 0:
                request.watch(phase, min(done, size), size)
            if data.strip():
                yield _line(place, data)


def _line(place: int, data: bytes) -> Line:
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Line(place, None, 0, f"it is no JSON (NaN is none either): {error.msg[:80]}")
    if type(row) is not dict:
        return Line(place, None, 0, f"it is {shown(row)}; expected an object")
    return Line(place, row, len(data))
