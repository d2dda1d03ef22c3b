"""`python -m benchmarks.paced`: POST a request at a fixed rate and print what was seen, as JSON.

Open loop: a request is sent at its time whether or not those before it were answered, and its
latency is counted from that time, so that a server that stalls is not asked less. It is one
process with plain sockets, to take as little as possible of the cores that the server needs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Seen:
    """What a caller saw in one run."""

    p50_ms: float
    p99_ms: float
    failed: int


def raw(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole POST request."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def started(
    request: Path, port: int, rate: float, seconds: float, connections: int = 16
) -> subprocess.Popen[str]:
    """A process that asks at `rate`; `request` holds what `raw` made."""
    command = [sys.executable, "-m", "benchmarks.paced", str(request), "--port", str(port)]
    command += ["--rate", str(rate), "--seconds", str(seconds), "--connections", str(connections)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def seen_by(process: subprocess.Popen[str]) -> Seen:
    """Wait for such a process, and tell what it saw."""
    out, _ = process.communicate()
    if process.returncode:
        sys.exit("the load generator failed")
    told = json.loads(out)
    latencies = sorted(told["latencies_ms"])
    failed = sum(count for status, count in told["statuses"].items() if status != "200")
    return Seen(statistics.median(latencies), quantile(latencies, 0.99), failed)


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self.due = 0.0
        self.is_asked = False
        self.open()

    def open(self) -> None:
        """Connect, also again after the server closed it."""
        self.socket = socket.create_connection(self._address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, request: bytes, due: float) -> None:
        """Send `request`, which was due at `due`."""
        self.due, self.is_asked = due, True
        self._received = b""
        with contextlib.suppress(ConnectionError):  # `status` tells it
            self.socket.sendall(request)

    def status(self) -> int:
        """The status of the answer once it is complete, else 0.

        Raises:
            ConnectionError: the server closed the connection.
        """
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return 0
        # of the answer, not Inference-Header-Content-Length
        at = head.lower().index(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return 0
        self.is_asked = False
        return int(head[9:12])


def run(
    port: int, request: bytes, rate: float, seconds: float, *, connections: int
) -> tuple[list[float], dict[int, int]]:
    """Latencies of good answers in milliseconds, and how many answers had which status."""
    opened = [Connection("127.0.0.1", port) for _ in range(connections)]
    idle = deque(opened)
    by_socket = {one.socket.fileno(): one for one in opened}
    poller = select.epoll()
    for number in by_socket:
        poller.register(number, select.EPOLLIN)
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    started = time.perf_counter()
    planned, sent, total = started, 0, int(rate * seconds)
    waiting: deque[float] = deque()
    while sent < total or len(idle) < connections:
        now = time.perf_counter()
        while sent + len(waiting) < total and planned <= now:
            waiting.append(planned)
            planned += 1 / rate
        while waiting and idle:
            idle.popleft().send(request, waiting.popleft())
            sent += 1
        pause = max(0.0, planned - time.perf_counter()) if sent < total else 1.0
        for number, _ in poller.poll(pause):
            connection = by_socket[number]
            try:
                status = connection.status()
            except ConnectionError:  # the server closes what nobody used for some seconds
                poller.unregister(number)
                by_socket.pop(number).socket.close()
                connection.open()
                by_socket[connection.socket.fileno()] = connection
                poller.register(connection.socket.fileno(), select.EPOLLIN)
                if connection.is_asked:
                    connection.send(request, connection.due)
                continue
            if status:
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    latencies.append((time.perf_counter() - connection.due) * 1e3)
                idle.append(connection)
        if time.perf_counter() - started > seconds + 30:
            raise TimeoutError("the server does not keep up")
    for one in opened:
        one.socket.close()
    return latencies, statuses


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("request", type=Path, help="file with the bytes of the whole request")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=4)
    given = parser.parse_args()
    latencies, statuses = run(
        given.port,
        given.request.read_bytes(),
        given.rate,
        given.seconds,
        connections=given.connections,
    )
    print(json.dumps({"latencies_ms": latencies, "statuses": statuses}))


if __name__ == "__main__":
    main()
