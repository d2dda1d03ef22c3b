"""Ids of requests: one for each, told in its answer and kept with what it used.

An id that we make begins with its time, so that what was kept under it is found by time. It tells
nothing else: neither how many requests there were nor whose. A caller may choose its own id and
use it again; it is a name that it gave to its requests, never what records are told apart by.
"""

from __future__ import annotations

import os
import re
import time
from contextvars import ContextVar

ID_CHARS = 32
"""Of an id that we make."""
MAX_CHARS = 64
_SOUND = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_CHARS)
_OURS = re.compile(r"req_([0-9a-f]{12})[0-9a-f]{16}")
_POOL_BYTES = 4096
_RANDOM_CHARS = 16

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")
"""The id of the request that is being answered; every door sets it. The hot path does not: its
calls know their exchange."""


class _RequestIds:
    """Makes ids; randomness comes from the system, for many ids with one call."""

    def __init__(self) -> None:
        self._random: list[bytes] = []
        self._stamp = (0, b"")  # one object: threads that make ids see both parts of one

    def next(self) -> bytes:
        """See `new_request_id`."""
        now_ms = int(time.time() * 1000)
        stamped_ms, prefix = self._stamp
        if now_ms != stamped_ms:
            prefix = b"req_%012x" % now_ms
            self._stamp = (now_ms, prefix)
        try:
            return prefix + self._random.pop()
        except IndexError:  # none is left, or another thread took the last
            made = _random_parts()
            found = prefix + made.pop()
            self._random = made
            return found


def _random_parts() -> list[bytes]:
    digits = os.urandom(_POOL_BYTES).hex().encode()
    return [digits[start : start + _RANDOM_CHARS] for start in range(0, len(digits), _RANDOM_CHARS)]


new_request_id = _RequestIds().next
"""A fresh id: `req_`, 12 hex digits of Unix time in milliseconds, 16 of randomness."""


def sound_request_id(header: bytes | None) -> bytes | None:
    """The caller's own id, or None when it sent none that can be kept and told again."""
    return header if header is not None and _SOUND.fullmatch(header) else None


def request_id_of(header: bytes | None) -> str:
    """The caller's own id when it is sound, else a fresh one."""
    return (sound_request_id(header) or new_request_id()).decode()


def made_at(request_id: str) -> float | None:
    """Unix time at which an id of ours was made; None when it does not look like one."""
    match = _OURS.fullmatch(request_id)
    return None if match is None else int(match[1], 16) / 1000
