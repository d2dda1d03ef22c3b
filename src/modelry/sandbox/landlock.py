"""Landlock: the kernel lets a process read and write only what it named beforehand."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from modelry.sandbox.kernel import Refused, call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_ASK_VERSION = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE = 1 << 4 | 1 << 5
_MAKE_DIRECTORY_FILE_SOCKET_LINK = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 12
_TRUNCATE = 1 << 14
_CONTROL = 1 << 15
"""Calls of `ioctl` on devices."""
_BY_ABI = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: _CONTROL}
"""Rights to files that each version added: all are refused unless a rule grants them."""
_TCP_ABI, _TCP = 4, 0b11
SCOPE_ABI, _SCOPED = 6, 0b11
"""Abstract Unix sockets and signals."""

_READ = _READ_FILE | _READ_DIR
_FOR_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE | _CONTROL
_USE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _CONTROL
_WRITE = _READ | _WRITE_FILE | _REMOVE | _MAKE_DIRECTORY_FILE_SOCKET_LINK | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The version of Landlock that the kernel speaks; 0 for none."""
    try:
        return call("landlock", _CREATE_RULESET, None, 0, _ASK_VERSION)
    except Refused:
        return 0


def scopes_signals(version: int) -> bool:
    """Whether signals to processes outside are refused."""
    return version >= SCOPE_ABI


def restrict(
    version: int,
    readable: Iterable[Path],
    writable: Iterable[Path],
    devices: Iterable[Path] = (),
) -> None:
    """Refuse this thread, and those that it starts, every file but these.

    What is not there is left out. No file may be run as a program.

    Args:
        version: what `abi` said; not 0.
        readable: files and folders that may be read.
        writable: folders in which anything may be done.
        devices: nodes, or folders of what the kernel tells, that may be read, written and
            controlled.

    Raises:
        Refused: the kernel did not take the rules; nothing is restricted then.
    """
    handled = 0
    for since, rights in _BY_ABI.items():
        handled |= rights if version >= since else 0
    attributes = _Ruleset(
        handled,
        _TCP if version >= _TCP_ABI else 0,
        _SCOPED if version >= SCOPE_ABI else 0,
    )
    # older kernels take the structure only as long as they know it
    size = 8 if version < _TCP_ABI else 16 if version < SCOPE_ABI else 24
    ruleset = call("landlock", _CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ & handled)
        for path in writable:
            _allow(ruleset, path, _WRITE & handled)
        for path in devices:
            _allow(ruleset, path, _USE & handled)
        call("landlock", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _FOR_FILES
        rule = _PathBeneath(rights, descriptor)
        call("landlock", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
