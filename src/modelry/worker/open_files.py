"""The files of a model, which the gateway has opened and this process has inherited."""

from __future__ import annotations

import os
from pathlib import Path

from modelry.runtime_api.engine import LoadSpec

_OPEN_FILES = "/proc/self/fd/"
_MAPS = Path("/proc/self/maps")


def let_go(spec: LoadSpec) -> list[str]:
    """Close the files of `spec` after the load; the roles of those that are in use beyond it.

    What an engine has mapped into memory stays mapped; what it has read needs its file no more.
    """
    descriptors = _descriptors(spec)
    lines = (line.split() for line in _MAPS.read_text().splitlines())
    inodes = {fields[4] for fields in lines if len(fields) > 5}
    mapped = [
        role
        for role, descriptor in descriptors.items()
        if str(os.fstat(descriptor).st_ino) in inodes
    ]
    for descriptor in set(descriptors.values()):
        os.close(descriptor)
    return sorted(mapped)


def _descriptors(spec: LoadSpec) -> dict[str, int]:
    links = {role: str(path.readlink()) for role, path in spec.files.items() if path.is_symlink()}
    return {
        role: int(target.removeprefix(_OPEN_FILES))
        for role, target in links.items()
        if target.startswith(_OPEN_FILES)
    }
