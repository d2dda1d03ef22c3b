"""The folder of a worker: the only one that it may write to, with links to its model's files.

The files are open, in memory, and have no names. Engines want paths: some go by the extension,
some look for further files beside the first. So each file is a link under its own name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelry.runtime_api.engine import LoadSpec
from modelry.services.deployments.ports import OpenFile

SCRATCH_BYTES = 64 * 2**20
MOST_ENTRIES = 4096
_PREFIX = "modelry-worker-"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


@dataclass(slots=True)
class Scratch:
    """The folder of a running worker, as it is seen from outside: empty where the worker has a
    tree of its own with a bound that the kernel keeps; looked after here where it has not.
    """

    folder: Path
    room_bytes: int
    held: int | None

    def is_overfull(self) -> bool:
        """Whether more was written than there is room for; blocks a little."""
        used = entries = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    used += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 - may be many
            entries += len(names)
            if used > self.room_bytes or entries > MOST_ENTRIES:
                return True
        return False

    def remove(self) -> None:
        """Remove it with all that is in it, once."""
        shutil.rmtree(self.folder, ignore_errors=True)
        held, self.held = self.held, None
        if held is not None:
            os.close(held)


def room_for(files: Collection[OpenFile]) -> int:
    """Bytes that a worker's folder may hold: some engines want a copy of the model."""
    return SCRATCH_BYTES + sum(os.fstat(file.descriptor).st_size for file in files)


def clear_left_behind() -> None:
    """Remove the folders of servers that were killed: those that nobody holds."""
    for place in {_SHARED_MEMORY, Path(tempfile.gettempdir())}:
        for folder in place.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                    continue
                held = _hold(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def make_scratch(needed: int) -> Scratch:
    """The only folder that a process may write to: in memory where there is room for `needed`
    bytes; its path is short, as those of Unix sockets must be.
    """
    has_room = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > needed
    in_memory = has_room and os.access(_SHARED_MEMORY, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_SHARED_MEMORY if in_memory else None))
    return Scratch(folder, needed, _hold(folder))


def _hold(folder: Path) -> int:
    """A lock on `folder` for as long as the descriptor is open and this process lives.

    Raises:
        OSError: somebody else holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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
