"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """The kernel lacks something or refuses it; the text is for the report."""


def machine() -> str:
    """The architecture by its kernel name, such as `x86_64`; empty where this is not Linux."""
    return os.uname().machine if sys.platform == "linux" else ""


def call(what: str, number: int, *arguments: object) -> int:
    """System call `number`; integers are passed as longs, anything else as a pointer.

    Raises:
        Refused: it failed; tells `what` and the reason.
    """
    ctypes.set_errno(0)
    result = int(_libc.syscall(ctypes.c_long(number), *(_argument(one) for one in arguments)))
    return _checked(what, result)


def prctl(what: str, option: int, *arguments: int) -> int:
    """`prctl(2)`.

    Raises:
        Refused: it failed; tells `what` and the reason.
    """
    ctypes.set_errno(0)
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(what, int(_libc.prctl(option, *(ctypes.c_ulong(one) for one in padded))))


def unshare(flags: int) -> None:
    """`unshare(2)`.

    Raises:
        Refused: it failed.
    """
    ctypes.set_errno(0)
    _checked("unshare", int(_libc.unshare(flags)))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """`mount(2)`.

    Raises:
        Refused: it failed.
    """
    ctypes.set_errno(0)
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _checked("mount", int(result))


def unmount(target: str) -> None:
    """Detach what is mounted at `target`.

    Raises:
        Refused: it failed.
    """
    ctypes.set_errno(0)
    detach = 2
    _checked("umount", int(_libc.umount2(os.fsencode(target), detach)))


def _argument(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(what: str, result: int) -> int:
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
