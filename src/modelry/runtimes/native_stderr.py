"""Catches what native code writes to standard error while a model loads.

Engine libraries tell why a file cannot be loaded only there. A temporary file takes the text, not a
pipe: the library may hold the interpreter's lock, so nobody could empty a pipe meanwhile.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_KEPT_BYTES = 256 * 1024
_FLUSH_S = 0.05
"""Seconds given to the library's log thread to write what it still holds after a failure."""


class CaughtText:
    """What was caught; complete once the `with` block has ended."""

    def __init__(self) -> None:
        self.text = ""


@contextmanager
def caught_stderr() -> Iterator[CaughtText]:
    """Point file descriptor 2 at a temporary file; its text goes to the real one afterwards."""
    caught = CaughtText()
    sys.stderr.flush()
    real = os.dup(2)
    try:
        with tempfile.TemporaryFile() as kept:
            os.dup2(kept.fileno(), 2)
            try:
                yield caught
            except Exception:
                time.sleep(_FLUSH_S)
                raise
            finally:
                os.dup2(real, 2)
                caught.text = _pass_on(kept.fileno())
    finally:
        os.close(real)


def _pass_on(kept: int) -> str:
    """The end of what `kept` has, written to the real standard error as well."""
    size = os.lseek(kept, 0, os.SEEK_CUR)
    raw = os.pread(kept, MAX_KEPT_BYTES, max(0, size - MAX_KEPT_BYTES))
    if raw:
        os.write(2, raw)
    return raw.decode("utf-8", "replace")
