"""The command lines of the programs that are started shut in: workers, and hosts of work."""

from __future__ import annotations

import sys
from pathlib import Path

from modelry.domain.sandbox import SandboxPolicy

WORKER = "modelry.worker"
JOB_HOST = "modelry.job_host"


def command_of(program: str, fd: int, scratch: Path, sandbox: SandboxPolicy) -> list[str]:
    """How a program is started: `-P` keeps the folder that the server was started in from it.

    Args:
        program: its module.
        fd: its end of the socket, which it inherits.
        scratch: the folder that it may write to.
        sandbox: what it shuts itself in by.
    """
    command = [sys.executable, "-P", "-m", program]
    command += ["--fd", str(fd), "--scratch", str(scratch), "--require", sandbox.required.value]
    for path in sandbox.readable:
        command += ["--read", str(path)]
    for path in sandbox.hidden:
        command += ["--hide", str(path)]
    return command
