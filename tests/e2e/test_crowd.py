"""200 clients at once, a third of which go away half-way: nothing leaks and nobody suffers."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from tests.support.descriptors import open_descriptors, wait_until_closed
from tests.support.operating import Operator, wait_until
from tests.support.raw_http import head
from tests.support.server import server as running_server
from tests.support.weights import smollm2_q4_1
from tests.support.wire_models import multiplier

MIB = 2**20
CLIENTS = 200
CHATS = 40
ROUNDS = 2
CHAT_MANIFEST = """\
name: chat
task: chat
files: {model: smollm2.gguf}
defaults: {system: Answer., temperature: 0}
limits: {context: 256}
"""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A server with a chat model and a tensor model."""
    with running_server(tmp_path_factory.mktemp("crowd") / "data") as running:
        operator = Operator(running)
        operator.register_manifest(CHAT_MANIFEST, {"model": smollm2_q4_1()})
        # its cache of prompts grows up to a bound, which would hide what leaks
        operator.deploy("chat", engine_options={"prompt_cache_mib": 0})
        operator.serve("double", multiplier(2))
        operator.load("chat")
        yield operator
        operator.close()


@dataclass(frozen=True)
class Held:
    """What the server and its workers hold."""

    descriptors: Counter[str]
    memory_bytes: list[int]
    workers: list[int]


def held_by(operator: Operator) -> Held:
    processes = processes_of(operator)
    memory = [process.memory_info().rss for process in processes]
    return Held(open_descriptors(processes), memory, [process.pid for process in processes[1:]])


def processes_of(operator: Operator) -> list[psutil.Process]:
    """The server and its workers."""
    server = operator.process()
    return [server, *sorted(server.children(recursive=True), key=lambda one: one.pid)]


class Crowd:
    """One round of clients, each on a connection of its own."""

    def __init__(self, operator: Operator, seed: int) -> None:
        self._server = operator.server
        address = urlsplit(operator.server.url)
        self._address = (address.hostname, address.port)
        self._random = random.Random(seed)
        self.answered = 0
        self.left = 0

    async def run(self) -> None:
        """All clients at once."""
        kinds = [self._chat] * CHATS + [self._tensors] * (CLIENTS - CHATS)
        leaves = [at % 3 == 0 for at in range(CLIENTS)]
        async with asyncio.timeout(120), asyncio.TaskGroup() as clients:
            for kind, leave in zip(kinds, leaves, strict=True):
                clients.create_task(kind(leave=leave))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._address
        return await asyncio.open_connection(host, port)

    async def _leave(self, writer: asyncio.StreamWriter) -> None:
        """As a client that crashed: the connection is reset, or closed in good order."""
        if self._random.random() < 0.5:
            writer.transport.abort()
        writer.close()
        self.left += 1

    async def _tensors(self, *, leave: bool) -> None:
        reader, writer = await self._connect()
        rows = self._random.choice([1, 3, 500])
        values = np.arange(rows * 3, dtype="<f4").reshape(rows, 3)
        request = self._tensor_request(values)
        for _ in range(10):
            if leave and self._random.random() < 0.3:
                writer.write(request[: self._random.randrange(len(request) + 1)])
                await asyncio.sleep(self._random.random() * 0.02)
                await self._leave(writer)
                return
            writer.write(request)
            body = await self._answer(reader)
            got = np.frombuffer(body[-values.nbytes :], "<f4").reshape(values.shape)
            assert np.array_equal(got, values * 2)
            self.answered += 1
        await self._leave(writer)

    def _tensor_request(self, values: Any) -> bytes:
        tensor = {"name": "x", "shape": list(values.shape), "datatype": "FP32"}
        tensor["parameters"] = {"binary_data_size": values.nbytes}
        parameters = {"binary_data_output": True}
        part = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
        lines = (
            f"Content-Length: {len(part) + values.nbytes}",
            f"Inference-Header-Content-Length: {len(part)}",
        )
        path = "/v2/models/double/infer"
        return head(self._server, "POST", path, *lines) + part + bytes(values.tobytes())

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert told.startswith("http/1.1 200"), told
        length = int(told.partition("\r\ncontent-length: ")[2].split("\r\n")[0])
        return await reader.readexactly(length)

    async def _chat(self, *, leave: bool) -> None:
        message = {"role": "user", "content": f"Say {self._random.randrange(100)}."}
        body = json.dumps(
            {
                "model": "chat",
                "messages": [message],
                "stream": True,
                "max_completion_tokens": 200 if leave else 3,
            }
        ).encode()
        lines = (f"Content-Length: {len(body)}", "Content-Type: application/json")
        reader, writer = await self._connect()
        writer.write(head(self._server, "POST", "/v1/chat/completions", *lines) + body)
        if leave and self._random.random() < 0.5:
            await asyncio.sleep(self._random.random())
            await self._leave(writer)
            return
        told = await reader.readuntil(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200"), told
        if leave:
            await reader.readuntil(b"data: ")
            await self._leave(writer)
            return
        rest = b""
        while b"data: [DONE]" not in rest:
            part = await reader.read(65536)
            assert part, rest
            rest += part
        assert b'"error"' not in rest, rest
        self.answered += 1
        await self._leave(writer)


def test_a_crowd_leaves_nothing_behind(operator: Operator) -> None:
    def one_round(seed: int) -> None:
        crowd = Crowd(operator, seed)
        asyncio.run(crowd.run())
        assert crowd.left == CLIENTS
        assert crowd.answered > CLIENTS
        wait_until(lambda: operator.open_requests() == 0, "all requests are over", 20)
        for name in ("chat", "double"):
            wait_until(lambda n=name: _is_idle(operator, n), f"the slots of {name} are free", 20)

    before = held_by(operator)
    one_round(0)
    wait_until_closed(processes_of(operator), before.descriptors, more=2, timeout_s=10)
    warm = held_by(operator)
    for seed in range(1, ROUNDS + 1):
        one_round(seed)
    wait_until_closed(processes_of(operator), before.descriptors, more=2, timeout_s=10)
    after = held_by(operator)

    assert after.workers == before.workers
    growth = [now - then for now, then in zip(after.memory_bytes, warm.memory_bytes, strict=True)]
    assert all(grown < 16 * MIB for grown in growth), [grown // MIB for grown in growth]
    _assert_healthy(operator)


def _is_idle(operator: Operator, name: str) -> bool:
    return all(replica["in_flight"] == 0 for replica in operator.replicas(name))


def _assert_healthy(operator: Operator) -> None:
    assert operator.http.get("/readyz").json()["ready"] is True
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    answer = operator.http.post("/v2/models/double/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 4,
    }
    assert operator.http.post("/v1/chat/completions", json=body).status_code == 200
    zombies = [
        child
        for child in operator.process().children(recursive=True)
        if child.status() == psutil.STATUS_ZOMBIE
    ]
    assert not zombies
    log = operator.server.output()
    assert "Traceback" not in log, log[-3000:]
