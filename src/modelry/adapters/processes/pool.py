"""Starts worker processes and watches over each."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson
import psutil

from modelry.adapters.processes.environment import worker_environment
from modelry.adapters.processes.last_words import last_words
from modelry.adapters.processes.link import WorkerLink
from modelry.adapters.processes.memory_groups import MemoryBound, WorkerGroups
from modelry.adapters.processes.program import WORKER, command_of
from modelry.adapters.processes.scratch import (
    Scratch,
    clear_left_behind,
    link_files,
    make_scratch,
    room_for,
)
from modelry.domain.sandbox import DEFAULT_POLICY, SandboxPolicy
from modelry.runtime_api.frames import Frame, Kind
from modelry.services.deployments.ports import OpenFile, ReplicaEnd, ReplicaSpec

LOG_LINES = 500
HEARTBEAT_S = 2.0
SEND_BUFFER_BYTES = 2**20


class LocalReplicaPool:
    """A `ReplicaPool` of processes on this machine.

    Args:
        sandbox: what is asked of the sandbox that each worker is in.
    """

    def __init__(self, sandbox: SandboxPolicy = DEFAULT_POLICY) -> None:
        self._sandbox = sandbox
        self._groups = WorkerGroups()
        clear_left_behind()

    async def start(self, spec: ReplicaSpec, files: Mapping[str, OpenFile]) -> LocalReplica:
        """Start a worker process, and tell it what to load and where it has the files open."""
        scratch = make_scratch(room_for(files.values()))
        try:
            load = dataclasses.replace(
                spec.load, files=link_files(spec.load, files, scratch.folder)
            )
            return await self._start(dataclasses.replace(spec, load=load), files, scratch)
        except BaseException:
            scratch.remove()
            raise

    async def _start(
        self, spec: ReplicaSpec, files: Mapping[str, OpenFile], scratch: Scratch
    ) -> LocalReplica:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in (ours, theirs):
            # as much as the kernel allows: a turn of the loop sends all its calls at once
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        try:
            # A session of its own, so that Ctrl-C in the terminal reaches the gateway alone,
            # which then drains.
            process = await asyncio.create_subprocess_exec(
                *command_of(WORKER, theirs.fileno(), scratch.folder, self._sandbox),
                pass_fds=(theirs.fileno(), *{file.descriptor for file in files.values()}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=worker_environment(os.environ, scratch.folder),
                start_new_session=True,
                limit=1 << 20,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        # before it is told what to load: all that it takes from then on counts
        memory = self._groups.bound(spec.replica_id, process.pid, spec.load.memory_bytes)
        replica = LocalReplica(spec, process, scratch, memory)
        await replica.connect(ours)
        return replica


class LocalReplica:
    """One worker process; satisfies `services.deployments.ports.Replica`."""

    def __init__(
        self,
        spec: ReplicaSpec,
        process: asyncio.subprocess.Process,
        scratch: Scratch,
        memory: MemoryBound,
    ) -> None:
        self.pid: int | None = process.pid
        self.link = WorkerLink(spec.replica_id, spec.group, self._on_control, self._on_lost)
        self.ready_info: Mapping[str, Any] = {}
        self._spec = spec
        self._process = process
        self._scratch = scratch
        self._memory = memory
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._loaded: asyncio.Future[ReplicaEnd | None] = asyncio.get_running_loop().create_future()
        self._kill_reason: str | None = None
        self._load_error: str | None = None
        self._stopping = False
        self._stderr = asyncio.create_task(self._read_stderr())
        self._ended = asyncio.create_task(self._watch())
        self._heartbeat = asyncio.create_task(self._beat())

    async def connect(self, ours: socket.socket) -> None:
        """Take over our end of the socket and send the LOAD frame."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.link, sock=ours)
        self.link.send_through(ours)
        self.link.send_control(Kind.LOAD, orjson.dumps(self._spec.load.to_wire()))

    async def ready(self) -> ReplicaEnd | None:
        """Wait until the engine is loaded (None), or the end that came before."""
        try:
            async with asyncio.timeout(self._spec.load_timeout_s):
                return await asyncio.shield(self._loaded)
        except TimeoutError:
            self.kill(f"not loaded within {self._spec.load_timeout_s:g} s")
            return await self.ended()

    async def ended(self) -> ReplicaEnd:
        """Wait until the process is gone."""
        return await asyncio.shield(self._ended)

    async def stop(self, drain_s: float) -> None:
        """Drain for at most `drain_s` seconds, then end the process."""
        self._stopping = True
        self.link.send_control(Kind.DRAIN)
        try:
            async with asyncio.timeout(drain_s):
                await self.ended()
        except TimeoutError:
            self.kill("stopped while requests were still running")
            await self.ended()

    def kill(self, reason: str) -> None:
        """SIGKILL; `ended` tells `reason`."""
        if self._kill_reason is None:
            self._kill_reason = reason
        # at once: until the loop learns that the connection ended, new calls would go there
        self._spec.group.detach(self.link)
        if self._process.returncode is None:
            self._process.kill()

    def logs(self) -> list[str]:
        """The last stderr lines."""
        return list(self._lines)

    def memory_bytes(self) -> int | None:
        """Resident set size."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    def _on_control(self, frame: Frame) -> None:
        if frame.kind == Kind.READY:
            told = frame.json()
            self.ready_info = {**told, "sandbox": self._memory.add_to(told["sandbox"])}
            self.link.capacity = int(self.ready_info["capacity"])
            if not self._loaded.done():
                self._loaded.set_result(None)
        elif frame.kind == Kind.PONG:
            busy_s = float(frame.json().get("busy_s", 0))
            generates = "chat" in self.ready_info.get("abilities", ())
            if busy_s > self._spec.hang_timeout_s and not generates:
                self.kill(f"hung: one engine call ran for {busy_s:.0f} s")
        elif frame.kind == Kind.ERROR and frame.call_id == 0:
            self._load_error = str(frame.json().get("message"))

    def _on_lost(self) -> None:
        # The worker ends itself when its socket closes; make sure of it.
        asyncio.get_running_loop().call_later(2.0, self._make_sure_it_ends)

    def _make_sure_it_ends(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def _beat(self) -> None:
        while self._process.returncode is None:
            self.link.send_control(Kind.PING)
            await asyncio.sleep(HEARTBEAT_S)
            silent_s = time.monotonic() - self.link.last_heard
            if self._loaded.done() and silent_s > self._spec.hang_timeout_s:
                self.kill(f"hung: no sign of life for {silent_s:.0f} s")
            if await asyncio.to_thread(self._scratch.is_overfull):
                self.kill("it wrote more into its scratch folder than it may")

    async def _read_stderr(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line beyond the limit; what was read of it is dropped
                self._lines.append("(a line longer than 1 MiB was left out)")
                continue
            if not line:
                return
            self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    async def _watch(self) -> ReplicaEnd:
        code = await self._process.wait()
        await self._stderr
        await asyncio.to_thread(self._scratch.remove)
        ran_out = self._memory.end()
        if ran_out is not None and self._kill_reason is None:
            self._kill_reason = ran_out
        self._heartbeat.cancel()
        self.link.close()
        end = self._describe_end(code)
        if not self._loaded.done():
            self._loaded.set_result(end)
        return end

    def _describe_end(self, code: int) -> ReplicaEnd:
        if self._load_error is not None:
            return ReplicaEnd(self._load_error, permanent=True)
        if self._kill_reason is not None:
            return ReplicaEnd(self._kill_reason)
        if self._stopping and code == 0:
            return ReplicaEnd("stopped")
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        words = last_words(self._lines)
        said = f"; its last words: {words}" if words else ""
        return ReplicaEnd(f"the worker process {how}{said}")
