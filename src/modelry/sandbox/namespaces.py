"""Namespaces: a network without interfaces, IPC of its own, and a file tree with nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelry.sandbox.kernel import Refused, call, mount, unmount, unshare

_NEW_MOUNTS, _NEW_HOST_NAME, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USERS, _NEW_NETWORK = 0x10000000, 0x40000000
_OTHERS = _NEW_MOUNTS | _NEW_HOST_NAME | _NEW_IPC | _NEW_NETWORK

_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_PROGRAMS = 1, 2, 4, 8
_BIND, _RECURSIVE, _PRIVATE = 1 << 12, 1 << 14, 1 << 18
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_TREE_SIZE = "size=4m,mode=0755"


def leave() -> str:
    """Leave the namespaces of the gateway; needs root, or a kernel that gives users their own.

    Returns:
        A word on how.

    Raises:
        Refused: neither is there.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            unshare(_OTHERS)
        except Refused:
            pass  # root of a container has no such right, and may get it as a user
        else:
            return "as root"
    try:
        unshare(_NEW_USERS | _OTHERS)
    except Refused as error:
        raise Refused(
            f"{error} (the kernel or the container gives this user no namespaces)"
        ) from None
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError as error:
        raise Refused(f"user namespace: {error.strerror}") from None
    return "in a user namespace"


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Tree:
    """What a process sees.

    Attributes:
        readable: files and folders; each is found at the same path as before.
        changeable: folders in `readable` of what the kernel tells, which may be written, too.
        links: symbolic links to make, with their targets.
        scratch: an existing folder; it is empty in the new tree, lies in memory and goes with
            the process.
        scratch_bytes: how much it holds.
    """

    readable: Iterable[Path]
    changeable: Iterable[Path]
    links: Mapping[Path, str]
    scratch: Path
    scratch_bytes: int


def enter_tree(machine: str, tree: Tree) -> None:
    """Make a tree the root of this process, read-only but for `scratch` and `changeable`.

    Args:
        machine: the architecture.
        tree: what is in it.

    Raises:
        Refused: the kernel refused a step; the tree is as it was, read-only or not.
    """
    scratch = tree.scratch
    mount("", "/", "", _PRIVATE | _RECURSIVE)
    mount("tmpfs", str(scratch), "tmpfs", _NO_SETUID | _NO_DEVICES, _TREE_SIZE)
    try:
        _fill(scratch, tree.readable)
        at_scratch = _inside(scratch, scratch)
        at_scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "proc" / "self").symlink_to(str(os.getpid()))
        _make_read_only(scratch)
        for path in tree.changeable:
            mount(str(path), str(_inside(scratch, path)), "", _BIND)
        mount(
            "tmpfs",
            str(at_scratch),
            "tmpfs",
            _NO_SETUID | _NO_DEVICES | _NO_PROGRAMS,
            f"size={tree.scratch_bytes},mode=0700,nr_inodes=4096",
        )
        for path, target in tree.links.items():
            at = _inside(scratch, path)
            if not at.is_relative_to(at_scratch):
                raise Refused(f"tree: a link to a model lies outside of {scratch.name}")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.symlink_to(target)
        os.chdir(scratch)
        call("pivot_root", _PIVOT_ROOT[machine], b".", b".")
    except (OSError, Refused) as error:
        with contextlib.suppress(Refused):
            unmount(str(scratch))
        raise Refused(f"tree: {error}") from None
    unmount(".")
    os.chdir("/")


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _fill(root: Path, readable: Iterable[Path]) -> None:
    bound: list[Path] = []
    real: dict[Path, Path] = {path: path.resolve() for path in readable if path.exists()}
    for path in sorted(set(real.values()), key=lambda one: len(one.parts)):
        if any(path.is_relative_to(one) for one in bound):
            continue
        bound.append(path)
        target = _inside(root, path)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        mount(str(path), str(target), "", _BIND | _RECURSIVE)
    for path, resolved in real.items():
        if path != resolved and not any(path.is_relative_to(one) for one in bound):
            link = _inside(root, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(resolved)


def _make_read_only(root: Path) -> None:
    attributes = _Attributes(_READ_ONLY | _NO_SETUID, 0, 0, 0)
    call(
        "mount_setattr",
        _MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(root),
        _AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )
