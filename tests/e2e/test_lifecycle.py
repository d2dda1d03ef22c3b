"""Starts, ends, crashes and restarts of a whole server, as a user would meet them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from tests.support.operating import Operator, wait_until
from tests.support.raw_http import connect, head
from tests.support.rogue import MANIFEST as ROGUE_MANIFEST
from tests.support.rogue import install_rogue
from tests.support.server import start
from tests.support.weights import smollm2_q4_1
from tests.support.wire_models import multiplier

MIB = 2**20
CHAT_MANIFEST = """\
name: chat
task: chat
files: {model: smollm2.gguf}
defaults: {system: You are a helpful assistant., temperature: 0}
limits: {context: 1024}
scale: {replicas: 0..1}
"""
QUESTION: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "user", "content": "Tell me a long story about a mountain."}],
    "stream": True,
}
TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


class Home:
    """A data folder, and the server that runs on it, if any."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.key = secrets.token_urlsafe(32)
        self._operator: Operator | None = None

    def start(self, **settings: str) -> Operator:
        """A server on the folder, after the one before has ended."""
        self.leave()
        running = start(self.data, key=self.key, **{"drain_s": "20", **settings})
        self._operator = Operator(running)
        return self._operator

    def operator(self) -> Operator:
        """The server that a test before left running, or a new one."""
        operator = self._operator
        if operator is not None and operator.server.process.poll() is None:
            return operator
        return self.start()

    def leave(self) -> None:
        """End what runs."""
        operator, self._operator = self._operator, None
        if operator is not None:
            operator.close()
            if operator.server.process.poll() is None:
                operator.server.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A folder with a chat model, loaded on call, and a tensor model that is always there."""
    made = Home(tmp_path_factory.mktemp("lifecycle") / "data")
    operator = made.start()
    operator.register_manifest(CHAT_MANIFEST, {"model": smollm2_q4_1()})
    operator.deploy("chat")
    operator.serve("double", multiplier(2))
    yield made
    made.leave()


@pytest.fixture
def operator(home: Home) -> Operator:
    """A running server on that folder."""
    return home.operator()


def infer(operator: Operator, name: str = "double") -> httpx2.Response:
    return operator.http.post(f"/v2/models/{name}/infer", json={"inputs": [TENSOR]})


def payloads(lines: Iterator[str]) -> Iterator[str]:
    """The data of server-sent events."""
    for line in lines:
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


def assert_gone(processes: list[psutil.Process], timeout_s: float = 10) -> None:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    assert not alive


def test_a_worker_that_is_killed_under_a_stream(operator: Operator) -> None:
    asked = {**QUESTION, "max_completion_tokens": 500}
    with operator.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        told = payloads(answer.iter_lines())
        for _ in range(4):
            assert "error" not in json.loads(next(told))
        os.kill(operator.pid_of("chat"), signal.SIGKILL)
        last = list(told)[-1]
    error = json.loads(last)["error"]
    assert error["code"] == "replica_lost"
    assert "again" in error["message"]

    started = time.monotonic()
    again = {**QUESTION, "stream": False, "max_completion_tokens": 4}
    answer = operator.http.post("/v1/chat/completions", json=again)
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < 15
    assert infer(operator).status_code == 200
    assert operator.open_requests() == 0


def test_an_idle_model_is_unloaded_and_loaded_again_when_it_is_called(operator: Operator) -> None:
    scale = {"min_replicas": 0, "max_replicas": 1, "idle_unload_s": 1}
    operator.call("POST", "/deployments/double/scale", json=scale)
    worker = psutil.Process(operator.pid_of("double"))
    wait_until(lambda: not operator.replicas("double"), "the worker is unloaded", 15)
    assert_gone([worker])
    ready = operator.http.get("/v2/models/double/ready")
    assert ready.status_code == 503
    answer = infer(operator)
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]
    operator.call(
        "POST", "/deployments/double/scale", json={"min_replicas": 1, "idle_unload_s": None}
    )


def test_a_stream_goes_on_while_its_deployment_is_changed(operator: Operator) -> None:
    asked = {**QUESTION, "max_completion_tokens": 60}
    with operator.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        told = payloads(answer.iter_lines())
        next(told)
        before = operator.pid_of("chat")
        operator.deploy("chat", engine_options={"slots": 2})
        rest = list(told)
    assert rest[-1] == "[DONE]"
    assert not [one for one in rest if "error" in one]
    again = {**QUESTION, "stream": False, "max_completion_tokens": 2}
    assert operator.http.post("/v1/chat/completions", json=again).status_code == 200
    assert operator.pid_of("chat") != before


@pytest.fixture
def trickle() -> Iterator[str]:
    """The URL of a large file that comes a byte a second."""

    class Trickle(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(100 * MIB))
            self.end_headers()
            with contextlib.suppress(OSError):
                while not ended.wait(1):
                    self.wfile.write(b"a")

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}/model.onnx"
    ended.set()
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_stop_does_not_wait_for_what_is_being_fetched_sent_or_loaded(
    trickle: str, tmp_path: Path
) -> None:
    home = Home(tmp_path / "data")
    install_rogue(tmp_path / "packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "packages"))
        operator = home.start(allow_private_sources="1", drain_s="2")
    operator.register_manifest(ROGUE_MANIFEST.format(name="stuck"), {"model": multiplier(1)})
    operator.deploy("stuck", engine_options={"at_load": "hang"})
    lines = ("Content-Length: 1000000", "Upload-Offset: 0")
    upload = operator.call("POST", "/uploads", json={"size_bytes": 1_000_000})
    path = f"/api/v1/uploads/{upload['upload_id']}"
    body = {"source": trickle, "name": "slow", "task": "tensor"}
    with (
        connect(operator.server) as sending,
        operator.http.stream("POST", "/api/v1/pulls", json=body, timeout=30) as pulling,
    ):
        lines_told = pulling.iter_lines()  # while it is there, the connection stays open
        next(lines_told)
        sending.sendall(head(operator.server, "PATCH", path, *lines) + b"a" * 1000)
        workers = operator.server.workers()
        started = time.monotonic()
        operator.server.process.send_signal(signal.SIGINT)
        assert operator.server.process.wait(timeout=30) == 0
        assert time.monotonic() - started < 12
    assert_gone(workers)
    assert "Traceback" not in operator.server.output()
    home.leave()


def fails_to_start(**settings: str) -> str:
    """What a server prints that cannot start."""
    chosen = {"port": "0", "grpc_port": "0", "starter": "0", **settings}
    environment = {name: value for name, value in os.environ.items() if "MODELRY_" not in name}
    environment |= {f"MODELRY_{name.upper()}": value for name, value in chosen.items()}
    done = subprocess.run(
        [sys.executable, "-m", "modelry", "up"],
        env={**environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert done.returncode in (1, 2), printed
    assert "Traceback" not in printed
    return printed


def test_starts_that_cannot_be_are_refused_with_the_reason(
    home: Home, operator: Operator, tmp_path: Path
) -> None:
    other = {"data": str(tmp_path / "other")}
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        ThreadPoolExecutor(max_workers=4) as starting,
    ):
        port = str(taken.getsockname()[1])
        expected: list[tuple[dict[str, str], str]] = [
            ({"data": str(home.data)}, f"process {operator.server.process.pid}"),
            ({**other, "port": port}, f":{port}"),
            ({**other, "grpc_port": port, "data": str(tmp_path / "third")}, port),
            ({**other, "host": "0.0.0.0"}, "--insecure"),
            ({**other, "owner_key": "short"}, "32"),
        ]
        printed = list(starting.map(lambda one: fails_to_start(**one[0]), expected))
    for (settings, reason), told in zip(expected, printed, strict=True):
        assert reason in told, settings
        assert "short" not in told
    assert infer(operator).status_code == 200


def test_a_server_that_is_killed_takes_its_workers_with_it(operator: Operator) -> None:
    operator.load("chat")
    workers = operator.server.workers()
    assert len(workers) >= 2
    operator.server.kill()
    assert_gone(workers)


def test_an_upload_goes_on_after_the_server_was_killed(home: Home, operator: Operator) -> None:
    weights = os.urandom(40 * MIB)
    begun = operator.call("POST", "/uploads", json={"size_bytes": len(weights)})
    path = f"/uploads/{begun['upload_id']}"
    url = f"{operator.server.url}/api/v1{path}"

    def slowly() -> Iterator[bytes]:
        for at in range(0, len(weights), MIB):
            if at == 20 * MIB:
                wait_until(
                    lambda: operator.call("GET", path)["received_bytes"] >= 4 * MIB,
                    "some of it arrived",
                )
                operator.server.kill()
            yield weights[at : at + MIB]

    with (
        httpx2.Client(headers=operator.server.headers, timeout=30) as sender,
        pytest.raises(httpx2.TransportError),
    ):
        sender.patch(url, content=slowly(), headers={"upload-offset": "0"})
    assert operator.server.process.poll() is not None

    again = home.start()
    models = [model["name"] for model in again.call("GET", "/models")["models"]]
    assert sorted(models) == ["chat", "double"]
    kept = again.call("GET", path)
    assert not kept["complete"]
    assert 4 * MIB <= kept["received_bytes"] <= 20 * MIB
    rest = weights[kept["received_bytes"] :]
    done = again.call(
        "PATCH", path, content=rest, headers={"upload-offset": str(kept["received_bytes"])}
    )
    assert done["complete"]
    assert again.upload(weights) == done["digest"]
    again.register("triple", multiplier(3))
    again.deploy("triple")
    again.load("triple")
    assert infer(again, "triple").json()["outputs"][0]["data"] == [3, 6, 9]
    again.call("DELETE", "/deployments/triple")
    again.call("DELETE", "/models/triple")
    assert again.server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_lets_open_streams_end(operator: Operator, number: signal.Signals) -> None:
    workers: list[psutil.Process] = []
    asked = {**QUESTION, "max_completion_tokens": 60}
    with operator.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        told = payloads(answer.iter_lines())
        next(told)
        workers = operator.server.workers()
        operator.server.process.send_signal(number)
        rest = list(told)
    assert rest[-1] == "[DONE]"
    assert json.loads(rest[-2])["choices"][0]["finish_reason"] in ("length", "stop")
    assert operator.server.process.wait(timeout=30) == 0
    assert_gone(workers)
    assert "Stopping." in operator.server.output()
    assert "Traceback" not in operator.server.output()


def test_a_second_ctrl_c_ends_at_once(operator: Operator) -> None:
    asked = {**QUESTION, "max_completion_tokens": 900}
    with operator.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        told = payloads(answer.iter_lines())  # while it is there, the stream stays open
        next(told)
        workers = operator.server.workers()
        operator.server.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Stopping." in operator.server.output(), "it drains")
        operator.server.process.send_signal(signal.SIGINT)
        assert operator.server.process.wait(timeout=5) == 130
    assert_gone(workers)


def test_a_stop_ends_streams_that_take_longer_than_the_drain(home: Home) -> None:
    operator = home.start(drain_s="1", tenant_requests="1")
    asked = {**QUESTION, "max_completion_tokens": 900}
    with operator.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        told = payloads(answer.iter_lines())  # while it is there, the stream stays open
        next(told)
        for refused in (infer(operator), operator.http.post("/v1/chat/completions", json=asked)):
            assert refused.status_code == 429, refused.text
            assert int(refused.headers["retry-after"]) >= 1
            assert "limit is 1" in refused.text
        workers = operator.server.workers()
        started = time.monotonic()
        operator.server.process.send_signal(signal.SIGINT)
        error = json.loads([*told][-1])["error"]
        assert error["code"] == "model_not_ready"
        assert "The server stopped" in error["message"]
        assert operator.server.process.wait(timeout=20) == 0
        assert time.monotonic() - started < 10
    assert_gone(workers)
    assert "Traceback" not in operator.server.output()


def requests_used(operator: Operator) -> float:
    """How many requests to `double` the ledger knows of."""
    told = operator.call("GET", "/usage?group_by=deployment")["usage"]
    return sum(one["units"]["requests"] for one in told if one["group"]["deployment"] == "double")


def without_last_use(told: Any) -> Any:
    """What was told but for when keys were used last: that goes on at each question."""
    for key in told.get("keys", ()):
        del key["last_used_at"]
    return told


def test_what_was_made_is_there_after_a_restart(home: Home, operator: Operator) -> None:
    used = requests_used(operator)
    for _ in range(7):
        assert infer(operator).status_code == 200
    made = operator.call("POST", "/keys", json={"name": "app", "role": "inference"})
    revoked = operator.call("POST", "/keys", json={"name": "old", "role": "inference"})
    operator.call("DELETE", f"/keys/{revoked['key']['key_id']}")
    operator.call("PUT", "/models/double/aliases/champion", json={"version": 1, "reason": "best"})
    before = {
        path: operator.call("GET", path)
        for path in ("/models", "/models/double/versions", "/models/double/alias-moves", "/keys")
    }
    assert operator.server.stop() == 0

    again = home.start()
    for path, told in before.items():
        assert without_last_use(again.call("GET", path)) == without_last_use(told), path
    assert requests_used(again) >= used + 7
    again.load("double")
    assert infer(again).status_code == 200
    url = f"{again.server.url}/v2/models/double/infer"
    for token, status in ((made["token"], 200), (revoked["token"], 401)):
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx2.post(url, json={"inputs": [TENSOR]}, headers=headers)
        assert answer.status_code == status
    assert again.server.stop() == 0
