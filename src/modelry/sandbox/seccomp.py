"""The system calls that a worker may not make, as a seccomp filter.

Everything is allowed that is not named here: engines differ too much for a list of what they
need. Refused is what reaches other processes, the kernel's configuration or the network, and what
kernel exploits usually begin with.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Sequence

from modelry.sandbox import bpf
from modelry.sandbox.kernel import Refused, call, machine
from modelry.sandbox.syscalls import ARCHITECTURES, LAST_KNOWN, NUMBERS

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER = 1
_ALL_THREADS = 1

UNKNOWN = ("clone3",)
"""Fail with ENOSYS, so that the C library takes the older call, whose flags a filter can see."""

_CLONE_THREAD = 0x00010000
_CLONE_NEW_NAMESPACES = 0x7E020080
_SHARED_NAMELESS = 0x21
"""MAP_SHARED | MAP_ANONYMOUS: memory that no limit of the process counts."""
_TERMINAL_INPUT, _CONSOLE = 0x5412, 0x541C
"""TIOCSTI and TIOCLINUX type into a terminal."""
_KEPT_PROCESS_OPTIONS = (
    1,  # PR_SET_PDEATHSIG: it would outlive the gateway
    4,  # PR_SET_DUMPABLE
    8,  # PR_SET_KEEPCAPS
    28,  # PR_SET_SECUREBITS
    35,  # PR_SET_MM
    47,  # PR_CAP_AMBIENT
    53,  # PR_SET_SPECULATION_CTRL
    62,  # PR_SCHED_CORE
    0x59616D61,  # PR_SET_PTRACER
)


def checks(pid: int) -> dict[str, Sequence[bpf.Check]]:
    """What the arguments of a call must be, for the calls that depend on it.

    Args:
        pid: this process, the only one that it may signal or tune.
    """
    unix = bpf.OneOf(0, (socket.AF_UNIX,))
    own = bpf.OneOf(0, (pid,))
    self_only = bpf.OneOf(0, (0, pid))
    return {
        "mmap": (bpf.NotAllBits(3, _SHARED_NAMELESS),),
        "clone": (bpf.AllBits(0, _CLONE_THREAD), bpf.NoBits(0, _CLONE_NEW_NAMESPACES)),
        "socket": (unix,),
        "socketpair": (unix,),
        "kill": (own,),
        "tgkill": (own,),
        "rt_sigqueueinfo": (own,),
        "rt_tgsigqueueinfo": (own,),
        "prlimit64": (self_only,),
        "sched_setaffinity": (self_only,),
        "sched_setscheduler": (self_only,),
        "sched_setparam": (self_only,),
        "sched_setattr": (self_only,),
        "setpriority": (bpf.OneOf(0, (0,)), bpf.OneOf(1, (0, pid))),
        "ioprio_set": (bpf.OneOf(0, (1,)), bpf.OneOf(1, (0, pid))),
        "prctl": (bpf.NoneOf(0, _KEPT_PROCESS_OPTIONS),),
        "personality": (bpf.OneOf(0, (0, 0xFFFFFFFF)),),
        "ioctl": (bpf.NoneOf(1, (_TERMINAL_INPUT, _CONSOLE)),),
    }


def refused() -> list[str]:
    """Calls that fail whatever their arguments are."""
    return [name for name in NUMBERS if name not in checks(0) and name not in UNKNOWN]


def assemble(machine_name: str, pid: int, *, shares_memory: bool = False) -> bytes:
    """The filter for an architecture.

    Args:
        machine_name: the architecture.
        pid: this process.
        shares_memory: let shared memory without a name be mapped, though no limit of the process
            counts it: drivers of GPUs exchange data with them through it.

    Raises:
        Refused: there are no numbers for it.
    """
    if machine_name not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        raise Refused(f"no filter for {machine_name or 'this system'}, only for {known}")
    architecture, column = ARCHITECTURES[machine_name]

    def number(name: str) -> int | None:
        return NUMBERS[name][column]

    always = {
        found: bpf.errno(code)
        for names, code in ((refused(), errno.EPERM), (UNKNOWN, errno.ENOSYS))
        for name in names
        if (found := number(name)) is not None
    }
    checked = {
        found: (tests, bpf.errno(errno.EPERM))
        for name, tests in checks(pid).items()
        if (found := number(name)) is not None and not (shares_memory and name == "mmap")
    }
    return bpf.assemble(architecture, last_known=LAST_KNOWN, refused=always, checked=checked)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def restrict(*, shares_memory: bool = False) -> str:
    """Put the filter before every thread of this process, for good.

    Args:
        shares_memory: see `assemble`.

    Returns:
        A word on it for the report.

    Raises:
        Refused: no filter for this architecture, or the kernel has none.
    """
    name = machine()
    program = assemble(name, os.getpid(), shares_memory=shares_memory)
    structure = _Program(len(program) // 8, program)
    call("seccomp", _SECCOMP[name], _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(structure))
    return f"{len(refused())} system calls refused, {len(checks(0))} by their arguments"
