"""Rights of the process itself: capabilities, user, limits, dumps."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from modelry.sandbox.kernel import Refused, call, prctl

OPEN_FILES = 4096
FIRST_OWN_USER = 1_879_048_192
"""User ids of workers that root starts: this plus the process id, so that no two are alike."""
_KEEP_NO_NEW, _SET_DUMPABLE, _PARENT_DEATH_SIGNAL = 38, 4, 1
_DROP_BOUND, _AMBIENT, _CLEAR_ALL = 24, 47, 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def refuse_new_privileges() -> None:
    """From now on no program of another user's rights can be run.

    Raises:
        Refused: not this kernel.
    """
    prctl("no_new_privs", _KEEP_NO_NEW, 1)


def drop_bound() -> None:
    """Give up the capabilities that could be regained; has no effect without the right to do so."""
    for capability in range(64):
        with contextlib.suppress(Refused):
            prctl("capability bound", _DROP_BOUND, capability)
    with contextlib.suppress(Refused):
        prctl("ambient capabilities", _AMBIENT, _CLEAR_ALL)


def drop_capabilities(machine: str) -> None:
    """Give up every capability.

    Raises:
        Refused: not this kernel.
    """
    if machine not in _CAPSET:
        raise Refused(f"capabilities: unknown architecture {machine}")
    nothing = (ctypes.c_uint32 * 6)()
    header = _Header(_CAPABILITY_VERSION, 0)
    call("capset", _CAPSET[machine], ctypes.byref(header), ctypes.byref(nothing))


def switch_user(readable: Iterable[Path], owned: Iterable[Path], groups: Sequence[int] = ()) -> str:
    """Become a user of whom there is no other process.

    Args:
        readable: what must still be readable afterwards.
        owned: folders that shall belong to the new user.
        groups: that the new user is in beside its own.

    Returns:
        A word on it.

    Raises:
        Refused: something could not be read afterwards, or the id is not to be had.
    """
    for path in readable:
        hidden = _hidden_from_others(path)
        if hidden is not None:
            raise Refused(f"stays root: {hidden.name} is not readable by other users")
    user = FIRST_OWN_USER + os.getpid()
    try:
        for folder in owned:
            os.chown(folder, user, user)
        os.setgroups(list(groups))
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError as error:
        raise Refused(f"stays root: {error.strerror}") from None
    return "a user id of its own"


def _hidden_from_others(path: Path) -> Path | None:
    """`path`, a folder above it, or one of the entries in it, that only its owner can read."""
    try:
        found = path.resolve(strict=True)
    except OSError:
        return None
    for folder in found.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    entries = [found, *found.iterdir()] if found.is_dir() else [found]
    for entry in entries:
        try:
            mode = entry.stat().st_mode
        except OSError:
            continue
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if mode & needed != needed:
            return entry
    return None


def limit_resources(file_bytes: int) -> None:
    """Bound open files, core files, message queues and the size of a written file, for good."""
    for which, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, hard = resource.getrlimit(which)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (bound, bound))


def limit_threads() -> str:
    """Bound the threads of this user in this user namespace, for good.

    Returns:
        A word on it.
    """
    wanted = max(512, 16 * (os.cpu_count() or 1))
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))
    return f"{bound} at most"


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that happens.

    Changing users undoes it. A parent that died before has closed the socket, which ends the
    worker as well.

    Raises:
        Refused: not this kernel.
    """
    prctl("parent death signal", _PARENT_DEATH_SIGNAL, signal.SIGKILL)


def forbid_dumps() -> None:
    """Keep others of the same user from this process's memory, environment and open files.

    Raises:
        Refused: not this kernel.
    """
    prctl("dumpable", _SET_DUMPABLE, 0)
