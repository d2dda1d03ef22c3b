"""The process of work: its threads, limits and end."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from modelry.domain.errors import Cancelled, InvalidInput, ModelryError, NotSupported
from modelry.domain.sandbox import SandboxReport
from modelry.job_host.failures import failure_of
from modelry.job_host.host import ProcessHost
from modelry.job_host.link import ServerLink
from modelry.job_host.registry import load_work
from modelry.job_host.start import Start
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import error_to_wire
from modelry.runtime_api.work import Work, WorkLimits
from modelry.runtime_api.work_frames import EXIT_OUT_OF_MEMORY, WorkKind
from modelry.sandbox.memory_limit import MemoryLimit

WATCH_S = 0.02
"""Of memory: work that touches it as fast as it can gets further in that time."""
PROGRESS_S = 0.1
_EXIT_SERVER_GONE = 1
_FAULTS_OF_QUESTIONS = (InvalidInput, NotSupported)


def run(start: Start, report: SandboxReport, folder: Path, refused: ModelryError | None) -> None:
    """Do the work, tell what came of it, and leave the process; does not return.

    A process that was ordered to stay does what it is asked next, until the server ends it.

    Args:
        start: the order and the socket.
        report: what is in force around this process.
        folder: may be written to.
        refused: why the work must not begin, if so.
    """
    faulthandler.enable()
    # Ctrl-C is the server's business, which stops its works; so is a signal to all its processes
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop = StopSignal()
    link = ServerLink(start.connection, stop.set)
    if refused is not None:
        link.tell(WorkKind.FAILED, error_to_wire(refused))
        leave(0)
    host = ProcessHost(link, folder, stop)
    memory = start.limit_memory()
    silent_s = float(start.limits["silent_s"])
    threading.Thread(target=_read, args=(link,), name="reader", daemon=True).start()
    threading.Thread(
        target=_watch, args=(link, host, memory, min(2.0, silent_s / 4)), name="watch", daemon=True
    ).start()
    link.tell(WorkKind.BEGUN, {"sandbox": report.to_wire()})
    doing = _Doing(str(start.order["work"]), host, WorkLimits(**start.limits))
    stays = bool(start.order["stays"])
    while True:
        kind, header, is_sound = doing.one_order()
        host.tell_progress()
        stays = stays and is_sound and not stop.is_set() and host.clear_scratch()
        link.tell(kind, {**header, "stays": stays})
        if not stays:
            leave(0)


def leave(status: int) -> None:
    """End the process at once: threads of native libraries may never end by themselves."""
    sys.stderr.flush()
    os._exit(status)


class _Doing:
    """Does orders of a work, one after the other."""

    def __init__(self, name: str, host: ProcessHost, limits: WorkLimits) -> None:
        self._name = name
        self._host = host
        self._limits = limits
        self._work: Work | None = None

    def one_order(self) -> tuple[WorkKind, Mapping[str, object], bool]:
        """The last frame of the next order, and whether the process is as sound as before."""
        host = self._host
        try:
            if self._work is None:
                self._work = _imported(self._name)
            host.await_request()
            if host.stop.is_set():
                raise Cancelled("The work was stopped before it began.")
            return WorkKind.OUTCOME, {"outcome": self._work.run(host)}, True
        except ModelryError as error:
            is_sound = isinstance(error, _FAULTS_OF_QUESTIONS)
            return WorkKind.FAILED, error_to_wire(error), is_sound
        except Exception as error:  # noqa: BLE001 - whatever it was, the server is told
            traceback.print_exc()
            told = failure_of(self._name, error, self._limits, host.scratch)
            return WorkKind.FAILED, error_to_wire(told), False


def _imported(name: str) -> Work:
    """The work of a name, with its libraries.

    A framework is thousands of modules that stay: to look through them for garbage again and again
    takes 0.2 s of the 2.9 s of torch's import, and 0.1 s whenever all is looked through later.
    """
    gc.disable()
    try:
        return load_work(name)
    finally:
        gc.freeze()
        gc.enable()


def _read(link: ServerLink) -> None:
    link.read()
    leave(_EXIT_SERVER_GONE)


def _watch(link: ServerLink, host: ProcessHost, memory: MemoryLimit | None, every_s: float) -> None:
    next_sign = next_progress = 0.0
    while True:
        used = None if memory is None else memory.excess_bytes()
        if used is not None:
            sys.stderr.write(f"it used {used >> 20} MiB\n")
            leave(EXIT_OUT_OF_MEMORY)
        now = time.monotonic()
        if now >= next_sign:
            next_sign = now + every_s
            link.tell(WorkKind.ALIVE, {})
        if now >= next_progress:
            next_progress = now + PROGRESS_S
            host.tell_progress()
        time.sleep(WATCH_S)
