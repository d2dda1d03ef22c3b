"""From the last lines of a worker's stderr to a reason that may be told to callers."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LINES = 5
MAX_LINE_CHARACTERS = 300
_TRACE = re.compile(
    r'\s+File "|\s*[~^]+\s*$|Traceback \(|(Current thread|Thread) 0x|Stack \(most recent'
    r"|Extension modules:|\s*$|  <no Python frame>"
)
_SOURCE_LINE = re.compile(r"\s{4,}\S")
_PATH = re.compile(r"(?<![\w.])(?:/[\w.@+~-]+){2,}/?")


def last_words(lines: Iterable[str]) -> str:
    """What `lines` say about an end, without traces and folders of this server."""
    telling = [line.strip() for line in lines if not _is_trace(line)]
    return " | ".join(_without_folders(line)[:MAX_LINE_CHARACTERS] for line in telling[-MAX_LINES:])


def _is_trace(line: str) -> bool:
    return _TRACE.match(line) is not None or _SOURCE_LINE.match(line) is not None


def _without_folders(line: str) -> str:
    return _PATH.sub(lambda path: path[0].rstrip("/").rsplit("/", 1)[-1], line)
