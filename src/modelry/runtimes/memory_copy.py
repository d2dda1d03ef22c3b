"""A copy of a model's file that an engine may open for writing, in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelry.domain.errors import ModelFailed

_RESERVED = "MODELRY_MEMORY_FILE"


def reserve_copy() -> None:
    """Make the file for a copy beforehand: in its sandbox a worker cannot."""
    if hasattr(os, "memfd_create"):
        os.environ[_RESERVED] = str(os.memfd_create("modelry-copy", os.MFD_CLOEXEC))


@contextmanager
def copied(path: Path, name: str) -> Iterator[Path]:
    """A path of a copy of the file at `path`, which is called `name` in messages.

    Raises:
        ModelFailed: there is no memory for it.
    """
    reserved = os.environ.pop(_RESERVED, None)
    copy = os.memfd_create("modelry-copy", os.MFD_CLOEXEC) if reserved is None else int(reserved)
    with open(copy, "wb") as target:  # noqa: PTH123 - a descriptor, no path
        try:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, 2**20)
            target.flush()
        except OSError as error:
            raise ModelFailed(
                f"The engine needs a copy of '{name}' in memory while it loads it, for which "
                f"there is no room ({os.strerror(error.errno or 0)}); use the runtime 'llamacpp', "
                "or give the server more memory."
            ) from None
        yield Path(f"/proc/self/fd/{copy}")
