"""What a worker must be able to read to run Python, its engines and their libraries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/usr/share/fonts",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/nix/store",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/stat",
    "/proc/version",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
)
NULL_DEVICE = Path("/dev/null")


def own_process() -> Path:
    """What the kernel tells of this process."""
    return Path(f"/proc/{os.getpid()}")


def code(more: Iterable[Path] = (), hidden: Iterable[Path] = ()) -> list[Path]:
    """The interpreter, the packages that it can import and the libraries of the system.

    Args:
        more: what the operator adds, for engines with files elsewhere.
        hidden: folders that must not be readable; what holds one is left out.
    """
    left_out = set(exposing(hidden, more))
    found = dict.fromkeys(path for path in _code(more) if not _is_too_much(path))
    return [path for path in found if path not in left_out]


def exposing(hidden: Iterable[Path], more: Iterable[Path] = ()) -> list[Path]:
    """Those folders of code that hold one of `hidden`."""
    secret = [path.resolve() for path in hidden]
    return [
        path
        for path in _code(more)
        if not _is_too_much(path) and any(one.is_relative_to(path.resolve()) for one in secret)
    ]


def _code(more: Iterable[Path]) -> Iterator[Path]:
    yield from map(Path, _SYSTEM)
    yield from (Path(prefix) for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix})
    yield from (Path(entry) for entry in sys.path if entry)
    libraries = os.environ.get("LD_LIBRARY_PATH", "")
    yield from (Path(entry) for entry in libraries.split(os.pathsep) if entry)
    yield from more


def _is_too_much(path: Path) -> bool:
    """Folders that hold more than code: a prefix of `/` or `/usr` names them."""
    return not path.is_absolute() or str(path) in {"/", "/usr", "/usr/local", "/home", "/root"}
