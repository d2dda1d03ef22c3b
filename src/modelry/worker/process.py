"""The worker as a process: its threads, signals, limits and end."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace

from modelry.domain.sandbox import SandboxReport
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.frames import Frame
from modelry.sandbox.memory_limit import MemoryLimit
from modelry.worker.calls import log
from modelry.worker.host import WorkerHost
from modelry.worker.loading import Loaded, load
from modelry.worker.open_files import let_go

WATCH_BUSY_S = 0.01
WATCH_IDLE_S = 0.1
GC_THRESHOLD = 20_000
GIL_SWITCH_S = 0.001
"""How long processing steps in Python may keep the reading thread waiting (5 ms by default)."""
_EXIT_OUT_OF_MEMORY = 137
_EXIT_TERMINATED = 128 + signal.SIGTERM


def run(connection: socket.socket, load_frame: Frame, sandbox: SandboxReport) -> None:
    """Serve the gateway; does not return.

    Args:
        connection: the socket to the gateway.
        load_frame: what it asked to load.
        sandbox: what is in force around this process.
    """
    faulthandler.enable()
    sys.setswitchinterval(GIL_SWITCH_S)
    memory = _Memory(sandbox)
    host = WorkerHost(connection, leave, memory.load)
    _take_signals(host)
    host.take(load_frame)
    threading.Thread(target=_watch, args=(host, memory), name="watch", daemon=True).start()
    threading.Thread(target=host.read_in_turn, name="reader", daemon=True).start()
    host.read_in_turn()
    time.sleep(60)  # the thread that ended the host is about to leave the process
    leave(1)


def leave(status: int) -> None:
    """End the process at once: native threads of an engine may never end by themselves."""
    sys.stderr.flush()
    os._exit(status)


def _take_signals(host: WorkerHost) -> None:
    # Ctrl-C is the gateway's business, which drains its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def terminate(_number: int, _frame: object) -> None:
        log("asked to terminate: finishing what is open")
        # not in the handler itself: the thread that it interrupted may hold a lock
        threading.Thread(target=host.drain, args=(_EXIT_TERMINATED,), daemon=True).start()

    signal.signal(signal.SIGTERM, terminate)


class _Memory:
    """The memory limit, known once the LOAD frame is there."""

    def __init__(self, sandbox: SandboxReport) -> None:
        self._sandbox = sandbox
        self.limit: MemoryLimit | None = None

    def load(self, spec: LoadSpec) -> Loaded:
        """Apply the limit of `spec`, then load it; ends the process if it does not fit."""
        if spec.memory_bytes is not None:
            self.limit = MemoryLimit(spec.memory_bytes)
            self.limit.apply()
        loaded = load(spec)
        _settle()
        self.check()
        return replace(loaded, sandbox=self._sandbox, mapped=let_go(spec))

    def check(self) -> None:
        """End the process when it uses more than it may."""
        excess = None if self.limit is None else self.limit.excess()
        if excess is not None:
            log(excess)
            leave(_EXIT_OUT_OF_MEMORY)


def _settle() -> None:
    """After a load: what is loaded stays, and what was used to load and measure it can go."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others have none
    if trim is not None:
        trim(0)


def _watch(host: WorkerHost, memory: _Memory) -> None:
    next_look = 0.0
    while True:
        time.sleep(WATCH_BUSY_S if host.is_busy else WATCH_IDLE_S)
        now = time.monotonic()
        try:
            host.watch(now)
            if now >= next_look:
                next_look = now + WATCH_IDLE_S
                memory.check()
        except Exception as error:  # noqa: BLE001 - deadlines and memory must be watched on
            log(f"watching failed once: {type(error).__name__}")
