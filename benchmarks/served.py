"""Starts Modelry as a user would, for a benchmark."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelry.client import Client


@dataclass(frozen=True)
class Served:
    """A running server with its owner's client."""

    url: str
    key: str
    client: Client
    pid: int


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def modelry(*module: str, settings: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server on a free port with a data folder of its own.

    Args:
        module: what starts it instead of `modelry up`.
        settings: further variables of its environment.
    """
    key, port = secrets.token_urlsafe(32), free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "MODELRY_DATA": folder,
            "MODELRY_PORT": str(port),
            "MODELRY_GRPC_PORT": "0",
            "MODELRY_OWNER_KEY": key,
            "MODELRY_STARTER": "0",
            # what is measured has the cores as much as what it is compared with
            "MODELRY_WORK_NICENESS": "0",
            **(settings or {}),
        }
        log = Path(folder) / "server.log"
        with log.open("wb") as sink:
            server = subprocess.Popen(
                [sys.executable, "-m", *(module or ("modelry", "up"))],
                env=environment,
                stdout=sink,
                stderr=sink,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            client = Client(url=url, api_key=key)
            client.wait_ready(timeout_s=120)
            yield Served(url, key, client, server.pid)
        finally:
            server.terminate()
            server.wait(timeout=30)
