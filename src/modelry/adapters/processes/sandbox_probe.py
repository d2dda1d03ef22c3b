"""What sandbox this machine gives workers, tried by a process that shuts itself in."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading

from modelry.adapters.processes.environment import worker_environment
from modelry.domain.sandbox import Measure, SandboxLevel, SandboxReport

PROBE_TIMEOUT_S = 30.0
_SET_DUMPABLE = 4


def probe_sandbox() -> SandboxReport:
    """Try every measure; takes a few tenths of a second."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "modelry.sandbox"],
            env=worker_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        return SandboxReport.from_wire(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = f"could not be tried ({type(error).__name__})"
        return SandboxReport({}, dict.fromkeys(Measure, reason))


class SandboxProbe:
    """Probes once, in a thread, from when it is made.

    Until it is known that workers see no file but their own, and where they do, this process's
    memory and environment are hidden from other processes of the same user.
    """

    def __init__(self) -> None:
        _let_be_read(allowed=False)
        self._report: SandboxReport | None = None
        self._thread = threading.Thread(target=self._probe, name="sandbox-probe", daemon=True)
        self._thread.start()

    def _probe(self) -> None:
        self._report = probe_sandbox()
        _let_be_read(allowed=self._report.level.rank >= SandboxLevel.ISOLATED.rank)

    @property
    def known(self) -> SandboxReport | None:
        """The report, if it is there already."""
        return self._report

    def report(self) -> SandboxReport:
        """The report; waits for it."""
        self._thread.join()
        return self._report or SandboxReport()


def _let_be_read(*, allowed: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, int(allowed), 0, 0, 0)
