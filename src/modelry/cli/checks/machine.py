"""Disk, memory, ports and what the kernel offers."""

from __future__ import annotations

import ctypes
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from modelry.cli.checks.finding import Finding, bad, good, note
from modelry.cli.output import size_text

SPARE_BYTES = 2 * 10**9
LITTLE_BYTES = 300 * 10**6
_LANDLOCK_CREATE_RULESET = 444
"""The same number on every architecture."""
_LANDLOCK_ABI = 1
_CGROUP = Path("/sys/fs/cgroup")


def machine(data: Path, host: str, ports: dict[str, int]) -> Iterator[Finding]:
    """What this machine offers.

    Args:
        data: the folder that the server keeps its data in.
        host: the address that it would listen on.
        ports: the ports that it would listen on, by setting.
    """
    yield disk_space(data)
    for name, port in ports.items():
        yield port_use(name, host, port)
    yield landlock(landlock_abi())
    yield seccomp(_lines(Path("/proc/sys/kernel/seccomp/actions_avail")))
    yield cgroup_memory(_lines(_CGROUP / "cgroup.controllers"))


def disk_space(data: Path) -> Finding:
    """Whether models have room."""
    place = data
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    shown = f"{size_text(free)} free for {data}"
    if free >= SPARE_BYTES:
        return good("disk", shown)
    advice = "Models need room: free some, or choose another folder with MODELRY_DATA."
    return note("disk", shown, advice) if free >= LITTLE_BYTES else bad("disk", shown, advice)


def port_use(name: str, host: str, port: int) -> Finding:
    """Whether a port is free for `modelry up`."""
    if port == 0:
        return good(name, "a free one is taken")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return note(
                name,
                f"{host}:{port} cannot be taken ({error.strerror})",
                "Fine if that is your running server; another one needs another port "
                f"(MODELRY_{name.upper()}).",
            )
    return good(name, f"{host}:{port} is free")


def landlock_abi() -> int:
    """The version of Landlock that the kernel speaks; 0 for none."""
    if sys.platform != "linux":
        return 0
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    return max(0, int(syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_ABI)))


def landlock(abi: int) -> Finding:
    """Whether workers can be kept from files that are not theirs."""
    if abi > 0:
        return good("landlock", f"ABI {abi}")
    return note(
        "landlock",
        f"not there (kernel {platform.release()})",
        "Workers cannot be confined to their files; a kernel with Landlock can.",
    )


def seccomp(actions: list[str]) -> Finding:
    """Whether workers can be kept from system calls that they do not need."""
    if "errno" in " ".join(actions).split():
        return good("seccomp", "filters can be installed")
    return note("seccomp", "not there", "Workers cannot be kept from system calls.")


def cgroup_memory(controllers: list[str]) -> Finding:
    """Whether the kernel can bound a worker's memory as a group."""
    if "memory" in " ".join(controllers).split():
        return good("cgroup v2", "has the memory controller")
    return note(
        "cgroup v2",
        "no memory controller",
        "Memory limits of replicas are kept by each worker itself, not by a cgroup.",
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
