"""Servers as forks of a process that has imported everything: `start_forked`.

Importing takes nine tenths of a server's start, and the tests start a hundred. A fork differs from
`python -m modelry up` in how it came by its modules, and in its command line as others see it. What
a user types is started as a user types it by the tests of `make up`, of starts that fail, and by
all that set PYTHON* variables.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_IMPORTED = (
    "modelry.cli.main", "modelry.cli.start_console", "modelry.bootstrap",
    "psycopg", "sqlalchemy.dialects.sqlite",
)  # fmt: skip
_READ_AT_THE_START = "PYTHON"
"""Variables that Python itself reads when it starts begin so."""


class ForkedProcess:
    """A fork, as `subprocess.Popen` would show it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def end(self, status: int) -> None:
        """Told by the process that forked it, with what `waitpid` gave."""
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("modelry up", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Forker:
    """The process that forks, and a thread that hears from it."""

    def __init__(self) -> None:
        self.environment = _of_python(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._lock = threading.Lock()
        self._begun: list[ForkedProcess] = []
        self._has_begun = threading.Semaphore(0)
        self._hearing = threading.Thread(target=self._hear, name="forks", daemon=True)
        self._hearing.start()
        atexit.register(self._end)

    def _end(self) -> None:
        with self._process:
            self._process.kill()
            self._hearing.join()  # a thread that reads a pipe when Python ends is a fatal error

    def start(self, module: str, environment: Mapping[str, str], log: Path) -> ForkedProcess:
        with self._lock:  # one at a time: answers come in the order of the orders
            order = json.dumps(
                {"module": module, "environment": dict(environment), "log": str(log)}
            )
            assert self._process.stdin is not None
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()
            assert self._has_begun.acquire(timeout=120), "nothing was forked"
            return self._begun.pop()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        running: dict[int, ForkedProcess] = {}
        for line in self._process.stdout:
            told = json.loads(line)
            if "status" in told:
                running.pop(told["pid"]).end(told["status"])
            else:
                process = running[told["pid"]] = ForkedProcess(told["pid"])
                self._begun.append(process)
                self._has_begun.release()


@cache
def _forker() -> _Forker:
    return _Forker()


def start_forked(module: str, environment: Mapping[str, str], log: Path) -> ForkedProcess | None:
    """`python -m module up` with `environment`; None where Python itself would start otherwise."""
    forker = _forker()
    if _of_python(environment) != forker.environment:
        return None
    return forker.start(module, environment, log)


def _of_python(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_AT_THE_START) and name != "PYTHONUNBUFFERED"
    }


def _fork_on() -> dict[str, Any]:
    """Fork for each order; returns in the forks alone, with the order.

    It ends with its standard input, and does not wait for its forks, just as a test run that is
    killed would not.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the test run
    pending = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_the_ended()
        if 0 not in ready:
            continue
        read = os.read(0, 1 << 20)
        if not read:
            sys.exit(0)
        *orders, pending = (pending + read).split(b"\n")
        for order in orders:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.close(woken)
                os.close(wake)
                return dict(json.loads(order))
            _tell(pid=pid)


def _tell_the_ended() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _tell(pid=pid, status=status)


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(order: dict[str, Any]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    tempfile.tempdir = None  # it is looked for once, and kept
    sys.argv = [order["module"], "up"]


def _main() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    order = _fork_on()
    _become(order)
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
