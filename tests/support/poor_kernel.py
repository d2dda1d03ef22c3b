"""Runs a command as on a kernel without Landlock and namespaces: `python poor_kernel.py COMMAND`.

As in a container whose runtime filters those system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from modelry.sandbox import bpf
from modelry.sandbox.kernel import call, machine, prctl
from modelry.sandbox.syscalls import ARCHITECTURES, NUMBERS

LANDLOCK_CREATE_RULESET = 444
ANY_CALL = 0xFFFFFFFE


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main() -> None:
    """Install the filter and become the command."""
    architecture, column = ARCHITECTURES[machine()]
    unshare = NUMBERS["unshare"][column]
    assert unshare is not None
    program = bpf.assemble(
        architecture,
        last_known=ANY_CALL,
        refused={
            LANDLOCK_CREATE_RULESET: bpf.errno(errno.ENOSYS),
            unshare: bpf.errno(errno.EPERM),
        },
        checked={},
    )
    prctl("no_new_privs", 38, 1)
    number = {"x86_64": 317, "aarch64": 277}[machine()]
    structure = _Program(len(program) // 8, program)
    call("seccomp", number, 1, 0, ctypes.byref(structure))
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
