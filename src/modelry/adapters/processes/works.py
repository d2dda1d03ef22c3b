"""Runs each piece of work in a locked-down process of its own: `ProcessWorks`."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Self

from modelry.adapters.processes.environment import work_environment
from modelry.adapters.processes.last_words import last_words
from modelry.adapters.processes.memory_groups import MemoryBound, WorkerGroups
from modelry.adapters.processes.scratch import Scratch, make_scratch
from modelry.adapters.processes.silence import Silence
from modelry.adapters.processes.work_serving import LinkBroken, WorkServing, outcome_of
from modelry.domain.errors import Cancelled, WorkFailed
from modelry.domain.sandbox import DEFAULT_POLICY, SandboxPolicy
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import Frame
from modelry.runtime_api.work import Json, WorkClient, WorkOrder
from modelry.runtime_api.work_frames import WorkKind

LOG_LINES = 500
STOP_GRACE_S = 20.0
"""How long work has to end, and to save a checkpoint, once it was asked to."""
_END_GRACE_S = 2.0
"""What is left to a process to leave, once it has told the outcome."""
_CRASH_GRACE_S = 0.5
"""And once the connection has ended: its exit code tells more than that."""
_LOOK_EVERY_S = 1.0
_LONGEST_LINE = 64 * 1024

_log = logging.getLogger("modelry.works")


class ProcessWorks:
    """A `Works` of processes on this machine; as many at once as there are threads that call.

    Args:
        sandbox: what is asked of the sandbox that each process is in.
        niceness: how far work stands back behind serving whose limits do not say.
        stop_grace_s: what is left to work that was asked to end before it is killed.
    """

    def __init__(
        self,
        sandbox: SandboxPolicy = DEFAULT_POLICY,
        *,
        niceness: int = 0,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._sandbox = sandbox
        self._niceness = niceness
        self._stop_grace_s = stop_grace_s
        self._groups = WorkerGroups()

    def run(self, order: WorkOrder, client: WorkClient, stop: StopSignal) -> Json:
        """See `runtime_api.work.Works.run`."""
        if stop.is_set():
            raise Cancelled("The work was stopped before it began.")
        if order.limits.niceness is None:
            limits = dataclasses.replace(order.limits, niceness=self._niceness)
            order = dataclasses.replace(order, limits=limits)
        scratch = make_scratch(order.limits.scratch_bytes)
        try:
            with _RunningWork(self._sandbox, self._groups, order, client, scratch) as running:
                return running.until_end(stop, self._stop_grace_s)
        finally:
            scratch.remove()


class _RunningWork:
    """One process, from its start to its end, in the thread that its parent death hangs on: the
    kernel tells a process that its parent died when the thread that started it ends.
    """

    def __init__(
        self,
        sandbox: SandboxPolicy,
        groups: WorkerGroups,
        order: WorkOrder,
        client: WorkClient,
        scratch: Scratch,
    ) -> None:
        self._order = order
        self._scratch = scratch
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, and paths of ours
                _command(theirs.fileno(), scratch.folder, sandbox),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=work_environment(os.environ, scratch.folder, order.limits.threads),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._grace_s = 0.0
        self._memory: MemoryBound | None = groups.bound(
            f"work-{order.work}", self._process.pid, order.limits.memory_bytes
        )
        self._serving = WorkServing(ours, client)
        self._reader = threading.Thread(target=self._read_stderr, name="work-log", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._end()
        self._serving.close()
        if isinstance(error, WorkFailed):
            _log.warning("%s\n%s", error.message, "\n".join(self._lines))

    def until_end(self, stop: StopSignal, grace_s: float) -> Json:
        """Serve it until it has ended."""
        try:
            last = self._serve(stop, grace_s)
        except LinkBroken as broken:
            if stop.is_set():
                raise Cancelled("The work was stopped.") from None
            raise WorkFailed(self._describe_end(str(broken))) from broken
        self._grace_s = _END_GRACE_S
        return outcome_of(last)

    def _serve(self, stop: StopSignal, grace_s: float) -> Frame:
        limits = self._order.limits
        serving, silent_s = self._serving, limits.silent_s
        order = {
            "work": self._order.work,
            "request": self._order.request,
            "limits": dataclasses.asdict(limits),
        }
        serving.send(WorkKind.ORDER, order, timeout_s=silent_s)
        silence = Silence(self._process.pid, silent_s)
        kill_at = float("inf")
        look_at = time.monotonic() + _LOOK_EVERY_S
        while True:
            frame = serving.receive(silent_s)
            if frame is not None:
                return frame
            now = time.monotonic()
            if stop.is_set() and kill_at == float("inf"):
                kill_at = now + grace_s
                serving.send(WorkKind.STOP, timeout_s=silent_s)
            if now > kill_at:
                raise LinkBroken("it did not end when it was asked to")
            if now > look_at or now - serving.last_heard > silent_s:
                look_at = now + _LOOK_EVERY_S
                if silence.is_too_long(serving.last_heard, now):
                    raise LinkBroken(f"it gave no sign of life for {silent_s:g} s")
                if self._scratch.is_overfull():
                    raise LinkBroken("it wrote more into its scratch folder than it may")

    def _end(self) -> str | None:
        """See that it is gone; why the kernel ended it, if it was for want of memory."""
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_END_GRACE_S)
        memory, self._memory = self._memory, None
        return None if memory is None else memory.end()

    def _describe_end(self, broken: str) -> str:
        self._grace_s = _CRASH_GRACE_S
        was_there = self._process.poll() is None
        ran_out = self._end()
        code = self._process.returncode
        if ran_out is not None:
            how = f"ended: {ran_out}"
        elif code == -signal.SIGKILL and was_there:
            how = f"was ended: {broken}"
        elif code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        words = last_words(self._lines)
        said = f"; its last words: {words}" if words else ""
        return f"The process of the work '{self._order.work}' {how}{said}"

    def _read_stderr(self) -> None:
        stream: IO[bytes] | None = self._process.stderr
        if stream is None:
            return
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))


def _command(fd: int, scratch: Path, sandbox: SandboxPolicy) -> list[str]:
    """How it is started: `-P` keeps the folder that the server was started in from it."""
    command = [sys.executable, "-P", "-m", "modelry.job_host"]
    command += ["--fd", str(fd), "--scratch", str(scratch), "--require", sandbox.required.value]
    for path in sandbox.readable:
        command += ["--read", str(path)]
    for path in sandbox.hidden:
        command += ["--hide", str(path)]
    return command
