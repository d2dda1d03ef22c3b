"""Control groups (version 2) that bound the memory of workers, where the server may make some.

The kernel counts all that a worker has there: memory that it maps, its scratch folder, buffers of
its sockets. A group that holds processes cannot be divided, so the server first moves into a leaf
of its own; it does so only in a group that was handed to it: by systemd (`Delegate=yes`), or as
the root of a container.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from modelry.domain.sandbox import Measure, SandboxReport

BESIDE_BYTES = 128 * 2**20
"""What a worker's group may have beside the limit that the worker keeps itself, which tells
better what was too much: scratch files and the kernel's own share."""
LARGEST_THREADS = 4096
_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_SERVER_LEAF = "modelry-server"


class NoGroups(Exception):
    """No groups can be made; the text says why."""


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """The group of one worker."""

    folder: Path

    def add(self, pid: int) -> None:
        """Put a process and what it starts into the group.

        Raises:
            NoGroups: the kernel refuses.
        """
        _write(self.folder / "cgroup.procs", str(pid))

    def ran_out(self) -> bool:
        """Whether the kernel ended processes of the group for want of memory."""
        try:
            events = (self.folder / "memory.events").read_text().split()
        except OSError:
            return False
        counts = dict(zip(events[::2], events[1::2], strict=False))
        return int(counts.get("oom_kill", "0")) > 0

    def remove(self) -> None:
        """Remove the group; its processes have ended."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class MemoryGroups:
    """Makes groups below the server's own.

    Args:
        root: where control groups are mounted.
        own: the file that names this process's group.

    Raises:
        NoGroups: the server's group is not its own to divide.
    """

    def __init__(self, root: Path = _ROOT, own: Path = _OWN) -> None:
        base = _own_group(root, own)
        self._base = base
        if "memory" not in _words(base / "cgroup.subtree_control"):
            self._divide()

    def _divide(self) -> None:
        base = self._base
        ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        there = {int(pid) for pid in _words(base / "cgroup.procs")}
        if there - ours:
            raise NoGroups("other processes share the server's control group")
        leaf = base / _SERVER_LEAF
        leaf.mkdir(exist_ok=True)
        for pid in there:
            _write(leaf / "cgroup.procs", str(pid))
        _write(base / "cgroup.subtree_control", "+memory +pids")

    def make(self, name: str, memory_bytes: int) -> MemoryGroup:
        """A group that holds at most `memory_bytes` and a little, without swap.

        Raises:
            NoGroups: the kernel refuses.
        """
        folder = self._base / f"modelry-worker-{name}"
        try:
            folder.mkdir()
        except OSError as error:
            raise NoGroups(f"a control group cannot be made ({error.strerror})") from None
        _write(folder / "memory.max", str(memory_bytes + BESIDE_BYTES))
        _write(folder / "pids.max", str(LARGEST_THREADS))
        for optional, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with contextlib.suppress(NoGroups):
                _write(folder / optional, value)
        return MemoryGroup(folder)


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """What the kernel's control groups do for one worker: its group, or why there is none."""

    group: MemoryGroup | None
    told: str

    def add_to(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's own report of its sandbox, completed."""
        known = SandboxReport.from_wire(report)
        if self.group is None:
            return known.without_measure(Measure.MEMORY_GROUP, self.told).to_wire()
        return known.with_measure(Measure.MEMORY_GROUP, self.told).to_wire()

    def end(self) -> str | None:
        """Remove the group; why the kernel ended the worker, if it was for want of memory."""
        if self.group is None:
            return None
        ran_out = self.group.ran_out()
        self.group.remove()
        return f"out of memory: the kernel ended it at {self.told}" if ran_out else None


class WorkerGroups:
    """Groups for workers, where there can be any."""

    def __init__(self) -> None:
        self._groups: MemoryGroups | None = None
        self._reason = ""
        try:
            self._groups = MemoryGroups()
        except (NoGroups, OSError, psutil.Error) as reason:
            self._reason = str(reason)

    def bound(self, name: str, pid: int, memory_bytes: int | None) -> MemoryBound:
        """Bound the memory of a process that has just been started."""
        if self._groups is None:
            return MemoryBound(None, self._reason)
        if memory_bytes is None:
            return MemoryBound(None, "no memory_bytes is set for it")
        group = None
        try:
            group = self._groups.make(f"{name}-{pid}", memory_bytes)
            group.add(pid)
        except NoGroups as reason:
            if group is not None:
                group.remove()
            return MemoryBound(None, str(reason))
        return MemoryBound(group, f"{(memory_bytes + BESIDE_BYTES) >> 20} MiB")


def _own_group(root: Path, own: Path) -> Path:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        raise NoGroups("this system has no control groups") from None
    paths = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    base = root / paths[0].lstrip("/") if paths else root
    if base.name == _SERVER_LEAF:  # an earlier start of this process moved here
        base = base.parent
    if not paths or "memory" not in _words(base / "cgroup.controllers"):
        raise NoGroups("the kernel's control groups of version 2 have no memory controller here")
    is_whole = paths[0] == "/" and os.getpid() == 1
    if not is_whole and not _is_delegated(base):
        raise NoGroups("the server's control group is not its own to divide (Delegate=yes)")
    if not os.access(base, os.W_OK):
        raise NoGroups("the server may not divide its control group")
    return base


def _is_delegated(base: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError, AttributeError):
            if os.getxattr(base, name) == b"1":
                return True
    return False


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise NoGroups(f"{path.name} cannot be written ({error.strerror})") from None
