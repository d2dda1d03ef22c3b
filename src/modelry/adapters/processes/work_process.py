"""A locked-down process that does one piece of work, or stays for more of the same."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from typing import IO, Self

import orjson

from modelry.adapters.processes.compute import ProcessMeter
from modelry.adapters.processes.environment import work_environment
from modelry.adapters.processes.last_words import last_words
from modelry.adapters.processes.memory_groups import MemoryBound, WorkerGroups
from modelry.adapters.processes.program import JOB_HOST, command_of
from modelry.adapters.processes.scratch import make_scratch
from modelry.adapters.processes.silence import Silence
from modelry.adapters.processes.work_serving import (
    LinkBroken,
    WorkServing,
    outcome_of,
    send_frame,
)
from modelry.domain.errors import Cancelled, LeaseLost, WorkFailed
from modelry.domain.sandbox import SandboxPolicy
from modelry.domain.usage import NO_COMPUTE
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.frames import Frame, encode
from modelry.runtime_api.work import Json, WorkClient, WorkLimits
from modelry.runtime_api.work_frames import EXIT_OUT_OF_MEMORY, WorkKind
from modelry.runtime_api.work_room import MEMORY_SETTING, memory_exhausted, scratch_exhausted

LOG_LINES = 500
_END_GRACE_S = 2.0
"""What is left to a process to leave, once it has told the outcome."""
_CRASH_GRACE_S = 0.5
"""And once the connection has ended: its exit code tells more than that."""
_LOOK_EVERY_S = 1.0
USED_EVERY_S = 0.5
"""How much of what a process uses is lost to the ledger when this server is killed."""
_LONGEST_LINE = 64 * 1024
_USED = "it used "
"""How a process begins its last line that uses more memory than it may."""

_log = logging.getLogger("modelry.works")


class _Overfull(LinkBroken):
    """It wrote more than it may, where the kernel keeps no bound of its scratch folder."""


class WorkProcess:
    """One process, which is told its work and limits when it starts, and then what it is asked for.

    It is used in the thread that its parent death hangs on: the kernel tells a process that its
    parent died when the thread that started it ends.

    Args:
        sandbox: what is asked of the sandbox that it is in.
        groups: may bound its memory.
        work: names what it shall do.
        limits: what it may use.
        stays: whether it shall wait for another order after one.
    """

    def __init__(
        self,
        sandbox: SandboxPolicy,
        groups: WorkerGroups,
        work: str,
        limits: WorkLimits,
        *,
        stays: bool = False,
    ) -> None:
        self.stays = stays
        """Whether it waits for an order now, or will after the one that it does."""
        self._scratch = make_scratch(limits.scratch_bytes)
        try:
            self._start(sandbox, groups, work, limits)
        except BaseException:
            self._scratch.remove()
            raise

    def _start(
        self, sandbox: SandboxPolicy, groups: WorkerGroups, work: str, limits: WorkLimits
    ) -> None:
        self._work = work
        self._limits = limits
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, and paths of ours
                command_of(JOB_HOST, theirs.fileno(), self._scratch.folder, sandbox),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=work_environment(os.environ, self._scratch.folder, limits),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._grace_s = 0.0
        self._meter = ProcessMeter(self._process.pid)
        self._is_over = self._was_killed = False
        self._unsaid = NO_COMPUTE
        self._memory: MemoryBound | None = groups.bound(
            f"work-{work}", self._process.pid, limits.memory_bytes
        )
        self._socket = ours
        self._client: WorkClient | None = None
        self._serving = WorkServing(ours)
        self._is_ordered = False
        self._reader = threading.Thread(target=self._read_stderr, name="work-log", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            self._end()
            self._socket.close()
            self._serving.let_go()
            if self._client is not None:
                with contextlib.suppress(LeaseLost):  # what the lost attempt used last is nobody's
                    self._client.used(self._unsaid)
            if isinstance(error, WorkFailed):
                _log.warning("%s\n%s", error.message, "\n".join(self._lines))
        finally:
            self._scratch.remove()

    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._meter.has_ended()

    @property
    def is_begun(self) -> bool:
        """Whether it has asked for anything of its order, or told what came of it."""
        return self._serving.is_begun

    def do(self, request: Json, client: WorkClient, stop: StopSignal, grace_s: float) -> Json:
        """Have it do the work, and serve it until that has ended; `stays` tells whether it waits.

        Raises:
            Cancelled: `stop` was raised.
            WorkFailed: it ended without an outcome.
            ModelryError: what the work raised.
        """
        stays, self.stays = self.stays, False
        self._meter.more()  # what it used while it waited for this is nobody's
        self._client = client
        self._serving.begin(client, request)
        try:
            self._order(stays=stays)
            last = self._served(self._serving, client, stop, grace_s)
        except LinkBroken as broken:
            if stop.is_set():
                raise Cancelled("The work was stopped.") from None
            raise self._failure(broken) from broken
        waits = stays and last.json().get("stays") is True
        self.stays = waits and not stop.is_set()
        if self.stays:
            self._serving.let_go()
            self._client = None
            client.used(self._meter.more())
        elif not waits:
            self._grace_s = _END_GRACE_S
        return outcome_of(last)

    def _order(self, *, stays: bool) -> None:
        """Tell it what its work is, once."""
        if self._is_ordered:
            return
        self._is_ordered = True
        limits = dataclasses.asdict(self._limits)
        order = {"work": self._work, "limits": limits, "stays": stays}
        frame = encode(WorkKind.ORDER, 0, orjson.dumps(order), b"")
        send_frame(self._socket, frame, [], self._limits.silent_s)

    def _served(
        self, serving: WorkServing, client: WorkClient, stop: StopSignal, grace_s: float
    ) -> Frame:
        """Its last frame."""
        silent_s = self._limits.silent_s
        silence = Silence(self._process.pid, silent_s)
        kill_at = float("inf")
        look_at = time.monotonic() + _LOOK_EVERY_S
        tell_at = time.monotonic() + USED_EVERY_S
        while True:
            frame = serving.receive(silent_s)
            if frame is not None:
                return frame
            now = time.monotonic()
            if stop.is_set() and kill_at == float("inf"):
                if not serving.is_begun:  # it still imports, and has nothing to put in order
                    raise Cancelled("The work was stopped before it began.")
                kill_at = now + grace_s
                serving.send(WorkKind.STOP, timeout_s=silent_s)
            if now > kill_at:
                raise LinkBroken("it did not end when it was asked to")
            if now > look_at or now - serving.last_heard > silent_s:
                look_at = now + _LOOK_EVERY_S
                if silence.is_too_long(serving.last_heard, now):
                    raise LinkBroken(f"it gave no sign of life for {silent_s:g} s")
                if self._scratch.is_overfull():
                    raise _Overfull("it wrote more into its scratch folder than it may")
            if now > tell_at:
                tell_at = now + USED_EVERY_S
                client.used(self._meter.more())

    def _end(self) -> str | None:
        """See that it is gone; why the kernel ended it, if it was for want of memory."""
        if not self._is_over:
            self._is_over = True
            if not self._meter.await_end(self._grace_s):
                self._was_killed = True
                os.kill(self._process.pid, signal.SIGKILL)  # nobody has waited for it: it is there
                self._meter.await_end(float("inf"))
            self._unsaid = self._meter.more()
        self._process.wait()
        self._reader.join(_END_GRACE_S)
        memory, self._memory = self._memory, None
        return None if memory is None else memory.end()

    def _failure(self, broken: LinkBroken) -> WorkFailed:
        self._grace_s = _CRASH_GRACE_S
        ran_out = self._end()
        code, work, limits = self._process.returncode, self._work, self._limits
        if ran_out is not None or code == EXIT_OUT_OF_MEMORY:
            last = self._lines[-1] if self._lines else ""
            return memory_exhausted(work, limits, last if last.startswith(_USED) else "")
        if isinstance(broken, _Overfull):
            return scratch_exhausted(work, limits)
        if code == -signal.SIGKILL and self._was_killed:
            how = f"was ended: {broken}"
        elif code == -signal.SIGKILL:
            how = (
                "was ended by SIGKILL: most likely this machine ran out of memory. Let it do less "
                f"at once, or bound it ({MEMORY_SETTING}) so that it tells how much it needs"
            )
        elif code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        words = last_words(self._lines)
        said = f"; its last words: {words}" if words else ""
        return WorkFailed(f"The process of the work '{work}' {how}{said}")

    def _read_stderr(self) -> None:
        stream: IO[bytes] | None = self._process.stderr
        if stream is None:
            return
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
