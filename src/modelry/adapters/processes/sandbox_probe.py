"""What sandbox this machine gives workers, tried by a process that shuts itself in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

from modelry.adapters.processes.environment import worker_environment
from modelry.domain.sandbox import Measure, SandboxReport

PROBE_TIMEOUT_S = 30.0


def probe_sandbox() -> SandboxReport:
    """Try every measure; takes a few tenths of a second."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "modelry.worker.sandbox"],
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
    """Probes once, in a thread, from when it is made."""

    def __init__(self) -> None:
        self._report: SandboxReport | None = None
        self._thread = threading.Thread(target=self._probe, name="sandbox-probe", daemon=True)
        self._thread.start()

    def _probe(self) -> None:
        self._report = probe_sandbox()

    @property
    def known(self) -> SandboxReport | None:
        """The report, if it is there already."""
        return self._report

    def report(self) -> SandboxReport:
        """The report; waits for it."""
        self._thread.join()
        return self._report or SandboxReport()
