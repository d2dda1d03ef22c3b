"""From what work raised to what is told: for want of room, with the remedy."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from modelry.domain.errors import ModelryError, NotSupported, WorkFailed
from modelry.runtime_api.work import WorkLimits
from modelry.runtime_api.work_room import memory_exhausted, scratch_exhausted

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can(no|')t allocate memory|unable to allocate|failed to allocate|bad_alloc"
    r"|bad allocation",
    re.IGNORECASE,
)
"""How native libraries put it into a RuntimeError."""
_NO_SPACE = re.compile(r"no space left on device|file too large", re.IGNORECASE)
_MOST_CAUSES = 20
_NEARLY_FULL_BYTES = 64 * 1024


def failure_of(work: str, error: BaseException, limits: WorkLimits, scratch: Path) -> ModelryError:
    """What is told of something that work raised and that is no error of ours.

    Args:
        work: its name.
        error: what it raised.
        limits: its limits.
        scratch: its folder: libraries that write tell by no means always that it is full.
    """
    for one in _causes(error):
        if _is_out_of_memory(one):
            return memory_exhausted(work, limits, _in_words(one))
        if _is_full(one):
            return scratch_exhausted(work, limits)
    if _has_no_room(scratch):
        return scratch_exhausted(work, limits)
    if isinstance(error, ModuleNotFoundError):
        return NotSupported(
            f"The work '{work}' needs the Python package '{error.name}', which this server has "
            "not. What training needs comes with: make training, or pip install 'modelry[train]'."
        )
    return WorkFailed(
        f"The work '{work}' failed ({type(error).__name__}); the server's log says more."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    one: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if one is None:
            return
        yield one
        one = one.__cause__ or one.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL or _NO_SPACE.search(str(error)) is not None
    return isinstance(error, RuntimeError) and _NO_SPACE.search(str(error)) is not None


def _has_no_room(folder: Path) -> bool:
    """Whether nothing more can be written there."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _NEARLY_FULL_BYTES or room.f_favail == 0


def _in_words(error: BaseException) -> str:
    """Whether it was the memory of a graphics card: the advice is the same, the place is not."""
    text = str(error)
    return "its graphics card has no more" if "CUDA" in text or "cuda" in text else ""
