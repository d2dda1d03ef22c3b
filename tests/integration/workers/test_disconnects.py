"""200 clients on real sockets, a third of which go away in the middle: nothing may stay behind."""

import asyncio
import contextlib
import random

import numpy as np
import orjson
import psutil
import pytest
import uvicorn
from tests.support.onnx_models import tiny_cnn
from tests.support.worker_stack import worker_stack

from modelry.protocols.http.hot import hot_protocol
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip.hot import InferRoute

pytestmark = pytest.mark.anyio

CLIENTS, REQUESTS = 200, 6
IMAGE = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)


def binary_request():
    raw = IMAGE.tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1, 28, 28]}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    lines = (
        "POST /v2/models/cnn/infer HTTP/1.1",
        "Host: x",
        "Authorization: Bearer key",
        f"Inference-Header-Content-Length: {len(head)}",
        f"Content-Length: {len(head) + len(raw)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + head + raw


async def read_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def client(port, number):
    """A client that answers are compared for, or that goes away before or after sending all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = binary_request()
    answers = []
    try:
        for round_number in range(REQUESTS):
            leaves = number % 3 == 0 and round_number == REQUESTS // 2
            writer.write(request[: random.randrange(1, len(request))] if leaves else request)
            if leaves and number % 2:
                writer.write(request)
            if leaves:
                await asyncio.sleep(random.random() * 0.01)
                writer.transport.abort()
                return answers
            answers.append(await read_answer(reader))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return answers


async def no_application(scope, receive, send):
    raise AssertionError("only the hot route is asked")


async def test_clients_that_disconnect_leave_no_slot_no_descriptor_and_no_process(tmp_path):
    process = psutil.Process()
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        expected = (await stack.infer("cnn", x=IMAGE))["y"].tobytes()
        limits = DoorLimits(stack.inference.accounts)
        config = uvicorn.Config(
            no_application,
            port=0,
            http=hot_protocol((InferRoute(stack.inference, limits, 1 << 20),)),
            lifespan="off",
            log_config=None,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        descriptors, children = process.num_fds(), len(process.children())
        for _ in range(2):
            found = await asyncio.gather(*(client(port, number) for number in range(CLIENTS)))
            assert [len(answers) for answers in found] == [
                REQUESTS // 2 if number % 3 == 0 else REQUESTS for number in range(CLIENTS)
            ]
            for payload in (payload for answers in found for payload in answers):
                got, wanted = (np.frombuffer(raw[-40:], "<f4") for raw in (payload, expected))
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        group = stack.target("cnn").group
        for _ in range(200):
            is_quiet = group.in_flight == 0 and group.links[0].in_flight == 0
            if is_quiet and not server.server_state.connections:
                break
            await asyncio.sleep(0.02)
        assert group.in_flight == group.accounts.open_requests() == group.links[0].in_flight == 0
        assert not server.server_state.connections
        assert process.num_fds() <= descriptors
        assert len(process.children()) == children
        assert stack.replica("cnn").restarts == 0
        server.should_exit = True
        await serving
