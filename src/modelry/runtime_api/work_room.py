"""What is told when work needs more room than it has, and how that is mended."""

from __future__ import annotations

from modelry.domain.errors import MemoryExhausted, ScratchExhausted
from modelry.runtime_api.work import WorkLimits

MEMORY_SETTING = "MODELRY_WORK_MEMORY_BYTES"
SCRATCH_SETTING = "MODELRY_WORK_SCRATCH_BYTES"
_LESS = "Let it do less at once: a smaller batch_size, smaller images or texts, a smaller model"
_SMALLER = "Give it less: fewer or smaller rows, a smaller model"


def memory_exhausted(work: str, limits: WorkLimits, how: str = "") -> MemoryExhausted:
    """The error of work that needs more memory than it may use.

    Args:
        work: its name.
        limits: its limits.
        how: what is known of it, such as how much it used.
    """
    bound = "this machine has" if limits.memory_bytes is None else "it may use"
    size = "" if limits.memory_bytes is None else f" ({limits.memory_bytes >> 20} MiB)"
    return MemoryExhausted(
        f"The work '{work}' needs more memory than {bound}{size}{f': {how}' if how else ''}. "
        f"{_LESS}{_or_more(MEMORY_SETTING, limits)}."
    )


def scratch_exhausted(work: str, limits: WorkLimits) -> ScratchExhausted:
    """The error of work that writes more than its scratch folder holds."""
    return ScratchExhausted(
        f"The work '{work}' writes more than its scratch folder holds "
        f"({limits.scratch_bytes >> 20} MiB, in memory). {_SMALLER}"
        f"{_or_more(SCRATCH_SETTING, limits)}."
    )


def _or_more(setting: str, limits: WorkLimits) -> str:
    """What the operator can do, where a setting bounds it."""
    if not limits.is_by_settings:
        return ""
    return f"; or let the server's operator allow more ({setting})"
