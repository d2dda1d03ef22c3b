"""Streams chat completions from a server and takes the time of every token: own asyncio client.

Each stream has a connection of its own, as llama.cpp's server closes it after every answer.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
import psutil

TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Endpoint:
    """A server's chat completions."""

    name: str
    url: str
    model: str
    pids: tuple[int, ...]
    """The processes that answer."""
    key: str | None = None

    def cpu_s(self) -> float:
        """CPU seconds that its processes have taken so far."""
        times = [psutil.Process(pid).cpu_times() for pid in self.pids]
        return float(sum(one.user + one.system for one in times))


@dataclass
class Timing:
    """One answer: seconds from the request to each piece of text, and its token count."""

    pieces_s: list[float] = field(default_factory=list)
    tokens: int = 0
    total_s: float = 0.0


@dataclass
class Load:
    """What a number of streams got out of a server."""

    timings: list[Timing]
    wall_s: float
    cpu_s: float

    @property
    def tokens(self) -> int:
        """Output tokens of all streams."""
        return sum(timing.tokens for timing in self.timings)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of all streams by wall time."""
        return self.tokens / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """CPU time per output token, the prompts' included."""
        return self.cpu_s / self.tokens * 1e3

    @property
    def first_ms(self) -> float:
        """Median time to the first token."""
        return statistics.median(timing.pieces_s[0] for timing in self.timings) * 1e3

    def between_ms(self, quantile: float) -> float:
        """Time between two pieces of text of one stream."""
        gaps = sorted(
            later - earlier
            for timing in self.timings
            for earlier, later in zip(timing.pieces_s, timing.pieces_s[1:], strict=False)
        )
        return gaps[min(len(gaps) - 1, int(len(gaps) * quantile))] * 1e3


def body(model: str, system: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    """A streamed request; greedy, so that every server generates the same amount."""
    return {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


class Stream:
    """One request under way; iterate over its pieces of text."""

    def __init__(self, endpoint: Endpoint, request: dict[str, Any]) -> None:
        self._endpoint = endpoint
        self._request = request
        self._writer: asyncio.StreamWriter | None = None
        self.timing = Timing()

    async def run(self, stop_after: int | None = None) -> Timing:
        """Read to the end, or hang up after `stop_after` pieces."""
        async with asyncio.timeout(TIMEOUT_S):
            started = time.perf_counter()
            reader = await self._send()
            async for line in reader:
                if line.startswith(b"data: [DONE]"):
                    break  # the connection may stay open
                if not line.startswith(b"data: "):
                    continue
                chunk = orjson.loads(line[6:])
                self._take(chunk, time.perf_counter() - started)
                if stop_after is not None and len(self.timing.pieces_s) >= stop_after:
                    break
            self.timing.total_s = time.perf_counter() - started
        assert self._writer is not None
        self._writer.transport.abort()
        if stop_after is None and not self.timing.tokens:
            raise RuntimeError(f"{self._endpoint.name} told no usage; was the answer cut off?")
        return self.timing

    async def _send(self) -> asyncio.StreamReader:
        parts = urlsplit(self._endpoint.url)
        reader, self._writer = await asyncio.open_connection(parts.hostname, parts.port)
        raw = orjson.dumps(self._request)
        key = f"Authorization: Bearer {self._endpoint.key}\r\n" if self._endpoint.key else ""
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        )
        self._writer.write(head.encode() + raw)
        status = await reader.readline()
        if b" 200 " not in status:
            rest = await reader.read(2000)
            raise RuntimeError(f"{self._endpoint.name} answered {status!r}: {rest!r}")
        return reader

    def _take(self, chunk: dict[str, Any], at_s: float) -> None:
        if "error" in chunk:
            raise RuntimeError(f"{self._endpoint.name} answered {chunk['error']}")
        for choice in chunk.get("choices", ()):
            if choice["delta"].get("content"):
                self.timing.pieces_s.append(at_s)
        if chunk.get("usage"):
            self.timing.tokens = chunk["usage"]["completion_tokens"]


async def load(endpoint: Endpoint, requests: list[dict[str, Any]], streams: int) -> Load:
    """Run `requests`, `streams` at a time."""
    waiting = iter(requests)

    async def work() -> list[Timing]:
        return [
            await Stream(endpoint, request | {"model": endpoint.model}).run() for request in waiting
        ]

    cpu_s, started = endpoint.cpu_s(), time.perf_counter()
    done = await asyncio.gather(*(work() for _ in range(streams)))
    wall_s = time.perf_counter() - started
    timings = [timing for part in done for timing in part]
    return Load(timings, wall_s, endpoint.cpu_s() - cpu_s)
