"""Requests that follow each other on a connection without waiting, in pieces of any size."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from typing import Any

import pytest
from tests.support.operating import Operator, wait_until
from tests.support.raw_http import connect, head
from tests.support.server import Running
from tests.support.wire_models import multiplier

INFER = "/v2/models/piped/infer"
REQUESTS = 50


@pytest.fixture(scope="module")
def piped(wired: Operator) -> Running:
    wired.serve("piped", multiplier(2))
    return wired.server


def request(server: Running, kind: str, number: int) -> bytes:
    """Hot and other requests, good and bad ones, each with a number that its answer must tell."""
    if kind == "look":
        return head(server, "GET", "/v2/models/piped/ready", f"X-Request-Id: id{number}")
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [number, 0, 0]}
    path, body = {
        "infer": (INFER, json.dumps({"id": str(number), "inputs": [tensor]})),
        "malformed": (INFER, "{"),
        "unknown": ("/v1/embeddings", json.dumps({"model": f"nobody{number}", "input": "a"})),
    }[kind]
    return head(server, "POST", path, f"Content-Length: {len(body)}") + body.encode()


def assert_answers(kind: str, number: int, status: int, headers: dict[str, str], told: Any) -> None:
    if kind == "infer":
        assert (status, told["id"]) == (200, str(number)), told
        assert told["outputs"][0]["data"] == [2 * number, 0, 0]
    elif kind == "malformed":
        assert status == 400, told
    elif kind == "unknown":
        assert status == 404
        assert f"'nobody{number}'" in told["error"]["message"]
    else:
        assert (status, headers["x-request-id"]) == (200, f"id{number}")


@pytest.mark.parametrize("seed", range(12))
def test_answers_come_whole_and_in_order(piped: Running, seed: int) -> None:
    chosen = random.Random(seed)
    mixture = ["infer", "infer", "look", "malformed", "unknown"]
    kinds = [chosen.choice(mixture) for _ in range(REQUESTS)]
    sent = b"".join(request(piped, kind, at) for at, kind in enumerate(kinds))
    with connect(piped) as connection:
        sending = threading.Thread(target=_send_in_pieces, args=(connection, sent, chosen))
        sending.start()
        with connection.makefile("rb") as answers:
            for number, kind in enumerate(kinds):
                status = int(answers.readline().split()[1])
                headers = {}
                while line := answers.readline().decode().strip():
                    name, _, value = line.partition(": ")
                    headers[name.lower()] = value
                body = answers.read(int(headers["content-length"]))
                assert_answers(kind, number, status, headers, json.loads(body))
        sending.join()


def _send_in_pieces(connection: socket.socket, sent: bytes, chosen: random.Random) -> None:
    position = 0
    while position < len(sent):
        size = chosen.choice([1, 7, 100, 1000, 5000, 100_000])
        connection.sendall(sent[position : position + size])
        position += size
        if chosen.random() < 0.05:
            time.sleep(0.002)


def test_a_caller_that_pipelines_and_leaves_costs_nothing(wired: Operator, piped: Running) -> None:
    for _ in range(20):
        with connect(piped) as connection:
            connection.sendall(request(piped, "infer", 1) * 30)
    wait_until(lambda: wired.open_requests() == 0, "all requests are over", 5)
