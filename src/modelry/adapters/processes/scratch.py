"""The folder of a worker: the only one that it may write to, with links to its model's files.

The files are open, in memory, and have no names. Engines want paths: some go by the extension,
some look for further files beside the first. So each file is a link under its own name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from modelry.runtime_api.engine import LoadSpec
from modelry.services.deployments.ports import OpenFile

SCRATCH_BYTES = 64 * 2**20
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


def make_scratch(files: Collection[OpenFile]) -> Path:
    """The only folder that a worker may write to: in memory where there is room; its path is
    short, as those of Unix sockets must be.
    """
    needed = SCRATCH_BYTES + sum(os.fstat(file.descriptor).st_size for file in files)
    has_room = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > needed
    in_memory = has_room and os.access(_SHARED_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="modelry-", dir=_SHARED_MEMORY if in_memory else None))


def link_files(load: LoadSpec, files: Mapping[str, OpenFile], scratch: Path) -> dict[str, Path]:
    """Links below `scratch` to `files`, as the worker that inherits them finds them; by role."""
    folder = scratch / "model"
    folder.mkdir()
    linked: dict[str, Path] = {}
    taken: set[str] = set()
    for role, file in files.items():
        name = _plain_name(load, role)
        if name in taken:
            name = f"{role}-{name}"
        taken.add(name)
        linked[role] = folder / name
        linked[role].symlink_to(f"/proc/self/fd/{file.descriptor}")
    return linked


def _plain_name(load: LoadSpec, role: str) -> str:
    """What the manifest calls a file; its role if that cannot stand in a folder."""
    entry = load.manifest.get("files", {}).get(role, {})
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {"/", "\0"}:
        return role
    return name
