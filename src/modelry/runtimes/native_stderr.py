"""Catches what native code writes to standard error while a model loads.

Engine libraries tell why a file cannot be loaded only there. A memory file takes the text, not a
pipe: the library may hold the interpreter's lock, so nobody could empty a pipe meanwhile.
"""

from __future__ import annotations

import os
import sys
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
    """Point file descriptor 2 at a memory file, and pass its text on to the real one afterwards."""
    caught = CaughtText()
    sys.stderr.flush()
    real = os.dup(2)
    memory = os.memfd_create("engine-stderr", os.MFD_CLOEXEC)
    try:
        os.dup2(memory, 2)
        try:
            yield caught
        except Exception:
            time.sleep(_FLUSH_S)
            raise
        finally:
            os.dup2(real, 2)
            size = os.lseek(memory, 0, os.SEEK_CUR)
            raw = os.pread(memory, MAX_KEPT_BYTES, max(0, size - MAX_KEPT_BYTES))
            caught.text = raw.decode("utf-8", "replace")
            if raw:
                os.write(2, raw)
    finally:
        os.close(memory)
        os.close(real)
