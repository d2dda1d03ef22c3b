"""Ids of requests: one for each, told in its answer and kept with what it used.

An id that we make begins with its time, so that what was kept under it is found by time. It tells
nothing else: neither how many requests there were nor whose. A caller may choose its own id and
use it again; it is a name that it gave to its requests, never what records are told apart by.
"""

from __future__ import annotations

import os
import re
import time
from array import array
from collections.abc import Iterator
from contextvars import ContextVar

MAX_CHARS = 64
_SOUND = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_CHARS)
_OURS = re.compile(r"req_([0-9a-f]{12})[0-9a-f]{16}")
_POOL_BYTES = 4096

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")
"""The id of the request that is being answered; every door sets it. The hot path does not: its
calls know their exchange."""


class _RandomWords:
    """64-bit words from the system's source of randomness, many of them for one system call."""

    def __init__(self) -> None:
        self._left: Iterator[int] = iter(())

    def next(self) -> int:
        """A word that nobody can foresee."""
        for word in self._left:
            return word
        self._left = iter(array("Q", os.urandom(_POOL_BYTES)))
        return next(self._left)


_random_words = _RandomWords()


def new_request_id() -> bytes:
    """A fresh id: `req_`, 12 hex digits of Unix time in milliseconds, 16 of randomness."""
    return b"req_%012x%016x" % (int(time.time() * 1000), _random_words.next())


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
