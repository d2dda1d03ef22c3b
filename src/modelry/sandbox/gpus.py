"""NVIDIA GPUs of this machine, as files that a process needs to compute on them."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_GPU = re.compile(r"nvidia\d+")
_DEVICES = re.compile(r"nvidia(\d+|ctl|-uvm|-uvm-tools)")
"""In `/dev`. Not those that set modes of screens or configure links between machines."""
_PARTS = "nvidia-caps"
"""A folder in `/dev`: the right to parts of a GPU that is divided."""
_READABLE = (
    "proc/driver/nvidia",
    "proc/devices",
    "proc/modules",
    "proc/sys/vm/mmap_min_addr",
    "sys/module/nvidia",
    "sys/module/nvidia_uvm",
    "sys/bus/pci/devices",
    "usr/local/nvidia/lib",
    "usr/local/nvidia/lib64",
    "run/opengl-driver/lib",
)
"""What the driver's library asks the kernel, and where it may lie beside the system's libraries."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """Files of GPUs: nodes that are read, written and controlled, and what is only read."""

    devices: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()

    @property
    def count(self) -> int:
        """How many GPUs there are."""
        return sum(_GPU.fullmatch(path.name) is not None for path in self.devices)

    def groups(self) -> tuple[int, ...]:
        """Groups that may use nodes which not everybody may."""
        found = set()
        for path in self.devices:
            held = path.stat()
            everybody = stat.S_IROTH | stat.S_IWOTH
            group = stat.S_IRGRP | stat.S_IWGRP
            if held.st_mode & everybody != everybody and held.st_mode & group == group:
                found.add(held.st_gid)
        return tuple(sorted(found - {0}))  # root's group may do more than use a GPU


NO_GPUS = Gpus()


def present(root: Path = Path("/")) -> Gpus:
    """Those of this machine; none without a driver.

    Args:
        root: of the file tree, for tests.
    """
    found = Gpus(tuple(_devices(root / "dev")))
    if not found.count:
        return NO_GPUS
    paths = [root / name for name in _READABLE]
    paths += sorted((root / "sys/devices").glob("pci*"))
    return Gpus(found.devices, tuple(path for path in paths if path.exists()))


def _devices(folder: Path) -> Iterator[Path]:
    named = (path for path in _entries(folder) if _DEVICES.fullmatch(path.name))
    for path in (*named, *_entries(folder / _PARTS)):
        try:
            is_node = stat.S_ISCHR(path.lstat().st_mode)
        except OSError:
            continue
        if is_node:
            yield path


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return ()
