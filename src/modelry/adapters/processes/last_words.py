"""What a process wrote before it ended, in words for callers."""

from __future__ import annotations

import re
from collections.abc import Iterable

LINES = 5
LINE_CHARS = 300

_TRACE = re.compile(r"\s|(Current thread|Thread) 0x|Extension modules:|Traceback \(most recent")
"""How the lines of stack dumps begin; all of them are in the replica's log."""
_PATH = re.compile(r"(?<![\w.:/])(?:/[\w.@+~-]+)+/(?=[\w.@+~-])")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


def last_words(lines: Iterable[str]) -> str:
    """The last lines that say something, without stack dumps, folders and addresses."""
    said = [line.strip() for line in lines if line.strip() and not _TRACE.match(line)]
    return " | ".join(_plain(line)[:LINE_CHARS] for line in said[-LINES:])


def _plain(line: str) -> str:
    return _ADDRESS.sub("0x…", _PATH.sub("", line))
