"""Contents in memory that look like files: what processes are given that must open one.

Each is a memfd, sealed against every change. The same content is there once, however many want
it at the same time: who maps it shares its pages.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from modelry.domain.errors import NotSupported, Overloaded

_NOEXEC_SEAL = 0x8
"""MFD_NOEXEC_SEAL: never a program; kernels before 6.3 do not know it."""
_SPARE_BYTES = 64 * 2**20
_CONTROL_GROUP = Path("/sys/fs/cgroup")
"""In a container, its own; elsewhere the root of all, which has no limit."""

Fill = Callable[[int], None]
"""Writes the content into a descriptor."""


def require_memory_files() -> None:
    """See that this system has memory files.

    Raises:
        NotSupported: it has not.
    """
    if not hasattr(os, "memfd_create"):
        raise NotSupported(
            "This system has no memory files (memfd_create), which Modelry needs so that "
            "decrypted models never lie on a disk. Run the server on Linux, in a container or a "
            "virtual machine."
        )


@dataclass(slots=True)
class _Shared:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    descriptor: int = -1
    size_bytes: int = 0


class MemoryFiles:
    """Hands out memory files, and lets each go when nobody holds it any more."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _Shared] = {}
        self._lock = threading.Lock()

    def open(self, key: Hashable, size_bytes: int, fill: Fill) -> MemoryFile:
        """The file of the content called `key`, filled now unless somebody holds it.

        Raises:
            Overloaded: there is not enough memory for it.
        """
        with self._lock:
            shared = self._shared.setdefault(key, _Shared())
            shared.users += 1
        try:
            with shared.lock:  # others that want the same wait until it is filled
                if shared.descriptor < 0:
                    shared.descriptor = _filled(size_bytes, fill)
                    shared.size_bytes = size_bytes
        except BaseException:
            self._let_go(key, shared)
            raise
        return MemoryFile(shared.descriptor, size_bytes, lambda: self._let_go(key, shared))

    def _let_go(self, key: Hashable, shared: _Shared) -> None:
        with self._lock:
            shared.users -= 1
            if shared.users > 0:
                return
            if self._shared.get(key) is shared:
                del self._shared[key]
            if shared.descriptor >= 0:
                os.close(shared.descriptor)
                shared.descriptor = -1


class MemoryFile:
    """Implements `services.catalog.ports.SealedFile`; made by `MemoryFiles.open`."""

    def __init__(self, descriptor: int, size_bytes: int, let_go: Callable[[], None]) -> None:
        self.descriptor = descriptor
        self.size_bytes = size_bytes
        self._let_go: Callable[[], None] | None = let_go

    @property
    def path(self) -> Path:
        """A path that this process can open it by, until `close`."""
        return Path(f"/proc/self/fd/{self.descriptor}")

    def close(self) -> None:
        """Let it go; again does nothing."""
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()


def _filled(size_bytes: int, fill: Fill) -> int:
    _check_room(size_bytes)
    descriptor = _created()
    try:
        fill(descriptor)
        fcntl.fcntl(
            descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _created() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("modelry-content", flags | _NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("modelry-content", flags)


def _available_bytes() -> int:
    """Memory that is left: of the machine, or of the container if that is less."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = (_CONTROL_GROUP / "memory.max").read_text().strip()
        used = int((_CONTROL_GROUP / "memory.current").read_text())
        lines = (_CONTROL_GROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return available
    if limit == "max":
        return available
    cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return min(available, int(limit) - used + cached)


def _check_room(size_bytes: int) -> None:
    available = _available_bytes()
    if size_bytes + _SPARE_BYTES > available:
        raise Overloaded(
            f"The content has {size_bytes // 2**20} MiB, and the server has "
            f"{available // 2**20} MiB of memory left to decrypt it into. Unload other models, "
            "or give the server more memory.",
            retry_after_s=30,
        )
