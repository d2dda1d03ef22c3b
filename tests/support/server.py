"""A real server as a process of its own, as a user would start it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
from tests.support.server_forks import ForkedProcess, start_forked

_HTTP = re.compile(r"HTTP\s+(https?://\S+)")
_GRPC = re.compile(r"gRPC\s+(\S+:\d+)")


@dataclass
class Running:
    """A server process, where it listens, and the owner's key."""

    process: subprocess.Popen[bytes] | ForkedProcess
    data: Path
    log: Path
    key: str
    url: str = ""
    grpc: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The owner's key as a header."""
        return {"authorization": f"Bearer {self.key}"}

    def http(self, timeout_s: float = 60.0) -> httpx2.Client:
        """A plain HTTP client with the owner's key."""
        own_authority = self.data / "secrets" / "tls" / "ca.pem"
        trust = ssl.create_default_context(cafile=own_authority if own_authority.exists() else None)
        return httpx2.Client(
            base_url=self.url, headers=self.headers, timeout=timeout_s, verify=trust
        )

    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, timeout_s: float = 60.0) -> int:
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=timeout_s)

    def kill(self) -> None:
        """As a crash of the machine would end it."""
        self.process.kill()
        self.process.wait(timeout=30)


def start(
    data: Path,
    *,
    key: str | None = None,
    wrapper: Sequence[str] = (),
    module: str = "modelry",
    **settings: str,
) -> Running:
    """Start a server on free ports, without starter models unless `starter="1"` is given.

    Args:
        data: its data folder.
        key: the owner's key; made at random by default.
        wrapper: a command that runs the server's command.
        module: what is run.
        settings: `MODELRY_*` variables by their lower-case names.
    """
    key = key or secrets.token_urlsafe(32)
    data.parent.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"{data.name}-{secrets.token_hex(3)}.log"
    chosen = {
        "host": "127.0.0.1",
        "port": "0",
        "grpc_port": "0",
        "data": str(data),
        "owner_key": key,
        "starter": "0",
        # tests beside this one take all cores, and would leave nothing to what stands back
        "work_niceness": "0",
        **settings,
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODELRY_")},
        **{f"MODELRY_{name.upper()}": value for name, value in chosen.items()},
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
    }
    with log.open("wb") as sink:
        process = None if wrapper else start_forked(module, environment, log)
        process = process or subprocess.Popen(
            [*wrapper, sys.executable, "-m", module, "up"],
            env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
        )  # fmt: skip
    running = Running(process, data, log, key, environment=environment)
    _wait_until_listening(running)
    return running


def _wait_until_listening(running: Running, timeout_s: float = 60.0) -> None:
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        printed = running.output()
        http, grpc = _HTTP.search(printed), _GRPC.search(printed)
        if http and grpc:
            running.url, running.grpc = http[1], grpc[1]
            return
        if running.process.poll() is not None:
            raise AssertionError(f"the server ended with {running.process.returncode}:\n{printed}")
        time.sleep(0.05)
    running.kill()
    raise AssertionError(f"the server did not come up:\n{running.output()}")


@contextlib.contextmanager
def server(
    data: Path,
    *,
    key: str | None = None,
    wrapper: Sequence[str] = (),
    module: str = "modelry",
    **settings: str,
) -> Iterator[Running]:
    """A server that is stopped, and must stop cleanly, at the end."""
    running = start(data, key=key, wrapper=wrapper, module=module, **settings)
    try:
        yield running
    finally:
        workers = running.workers()
        if running.process.poll() is None:
            try:
                code = running.stop()
            except subprocess.TimeoutExpired:
                running.kill()
                raise
            assert code == 0, running.output()
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive, f"workers outlived the server: {alive}"
