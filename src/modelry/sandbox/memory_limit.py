"""Keeps a process within its memory, without rights that only root has.

Two bounds: the kernel refuses mappings beyond the limit and some slack (RLIMIT_DATA), which turns
one huge allocation into an error of that call; and a watcher ends the process when what it really
uses passes the limit, which stops slow growth. A cgroup would need delegation by the
administrator, and RLIMIT_AS counts address space that engines only reserve.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

SLACK_BYTES = 256 * 2**20
"""Writable mappings that never become resident: stacks, arenas."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")


class MemoryLimit:
    """A limit on the private memory of this process, in bytes.

    Args:
        limit_bytes: the limit.
        counts_shared: count shared memory, too, for a process that may map some.
    """

    def __init__(self, limit_bytes: int, *, counts_shared: bool = False) -> None:
        self.limit_bytes = limit_bytes
        self._counts_shared = counts_shared

    def apply(self) -> None:
        """Have the kernel refuse allocations far beyond the limit, for good."""
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = self.limit_bytes + SLACK_BYTES
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))

    def excess_bytes(self) -> int | None:
        """How much the process uses when that is more than it may, else None."""
        used = private_bytes() + (shared_bytes() if self._counts_shared else 0)
        return used if used > self.limit_bytes else None

    def excess(self) -> str | None:
        """What to say when the process uses more than it may, else None."""
        used = self.excess_bytes()
        if used is None:
            return None
        return (
            f"out of memory: it uses {used // 2**20} MiB, its limit is "
            f"{self.limit_bytes // 2**20} MiB; raise its memory_bytes, or have it do with less"
        )


def private_bytes() -> int:
    """Resident memory without pages of files: mapped weights can be dropped and read again."""
    fields = _STATM.read_bytes().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES


def shared_bytes() -> int:
    """Resident shared memory: nameless segments, and what is mapped of files in memory."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) * 1024
    return 0
