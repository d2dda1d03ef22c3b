"""`curl` drives every HTTP door; what it shows are the bare protocols."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image
from tests.support.operating import Operator
from tests.support.server import Running
from tests.support.wire_models import DETECTOR_MANIFEST, left_half_detector, multiplier

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INFER = "/v2/models/adder/infer"
QUESTION = {
    "model": "chat",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_completion_tokens": 8,
    "temperature": 0,
}


@dataclass
class Answer:
    """The last answer that curl printed with `--include`."""

    status: int
    version: str
    headers: dict[str, str]
    body: bytes
    errors: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Curl:
    """Runs curl against a server."""

    server: Running

    def __call__(
        self, path: str, *options: str, key: bool = True, stdin: bytes | None = None
    ) -> Answer:
        authorization = ["--header", f"Authorization: Bearer {self.server.key}"] if key else []
        command = ["curl", "--silent", "--show-error", "--verbose", "--include", "--max-time", "60"]
        done = subprocess.run(
            [*command, *authorization, *options, self.server.url + path],
            input=stdin,
            capture_output=True,
            timeout=90,
            check=False,
        )
        errors = done.stderr.decode(errors="replace")
        assert done.returncode == 0, errors
        body = done.stdout
        head = b"HTTP/1.1 100"
        while head.startswith((b"HTTP/1.1 100", b"HTTP/1.1 1")):
            head, _, body = body.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        version, status, *_ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        return Answer(int(status), version, headers, body, errors)


def infer_body(rows: list[list[float]], **more: Any) -> str:
    x = {"name": "x", "shape": [len(rows), 3], "datatype": "FP32", "data": rows}
    return json.dumps({"inputs": [x], **more})


def png(colour: str, size: tuple[int, int] = (40, 20)) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def curl(wired: Operator) -> Curl:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    wired.serve("adder", multiplier(2))
    return Curl(wired.server)


def test_a_streamed_chat(curl: Curl, chat: Running) -> None:
    answer = curl(
        "/v1/chat/completions", "--no-buffer", "--json", json.dumps({**QUESTION, "stream": True})
    )
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    *blocks, end, rest = answer.body.decode().split("\n\n")
    assert end == "data: [DONE]"
    assert rest == ""
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert "Paris" in text


@pytest.mark.parametrize("options", [(), ("--http1.0",)], ids=["1.1", "1.0"])
def test_tensors_as_json(curl: Curl, options: tuple[str, ...]) -> None:
    answer = curl(INFER, *options, "--json", infer_body([[1, 2, 3]], id="mine"))
    assert answer.status == 200
    assert answer.json() == {
        "model_name": "adder",
        "model_version": "1",
        "id": "mine",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}],
    }
    if options:
        assert answer.headers.get("connection") == "close"


def test_a_stream_over_http_1_0(curl: Curl, chat: Running) -> None:
    asked = json.dumps({**QUESTION, "stream": True})
    answer = curl("/v1/chat/completions", "--http1.0", "--json", asked)
    assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_an_image_as_raw_bytes_and_as_a_form(curl: Curl, colours: Running, colour: str) -> None:
    raw = curl(
        "/v1/classify?model=colours&top_k=1",
        "--header",
        "Content-Type: image/png",
        "--data-binary",
        "@-",
        stdin=png(colour),
    )
    form = curl(
        "/v1/classify",
        "--form",
        "model=colours",
        "--form",
        "top_k=1",
        "--form",
        "image=@-;type=image/png",
        stdin=png(colour),
    )
    for answer in (raw, form):
        assert answer.status == 200, answer.body
        ((best,),) = [one["labels"] for one in answer.json()["results"]]
        assert best["label"] == colour
        assert best["score"] > 0.5


def test_boxes_are_told_in_pixels_of_the_image_that_was_sent(curl: Curl, wired: Operator) -> None:
    manifest = DETECTOR_MANIFEST.format(name="halves")
    wired.register_manifest(manifest, {"model": left_half_detector()})
    wired.deploy("halves")
    raw = ("--header", "Content-Type: application/octet-stream", "--data-binary", "@-")
    picture = png("red", (128, 64))
    answer = curl("/v1/detect?model=halves", *raw, stdin=picture)
    coded = {"model": "halves", "image": [base64.b64encode(picture).decode()] * 2}
    several = curl("/v1/detect", "--json", json.dumps(coded))
    for told, images in ((answer, 1), (several, 2)):
        assert told.status == 200, told.body
        results = told.json()["results"]
        assert len(results) == images
        for result in results:
            (found,) = result["objects"]
            assert found["label"] == "red"
            assert found["box"] == pytest.approx([0, 0, 64, 64], abs=1)
            assert (result["width"], result["height"]) == (128, 64)
    none = curl("/v1/detect?model=halves&min_score=0.99", *raw, stdin=picture)
    assert none.json()["results"][0]["objects"] == []


@pytest.mark.parametrize("path", ["/v1/models", INFER], ids=["asgi", "hot path"])
def test_one_connection_serves_many_requests(curl: Curl, path: str) -> None:
    options = ("--json", infer_body([[1, 2, 3]])) if path == INFER else ()
    again = [curl.server.url + path] * 4
    answer = curl(path, *again, *options)
    assert answer.status == 200
    assert len(re.findall(r"Re-using existing connection", answer.errors, re.IGNORECASE)) == 4


@pytest.mark.parametrize("path", ["/v1/chat/completions", INFER], ids=["asgi", "hot path"])
def test_a_client_that_asks_before_it_sends_is_told_to_go_on(
    curl: Curl, chat: Running, path: str
) -> None:
    body = infer_body([[1, 2, 3]]) if path == INFER else json.dumps(QUESTION)
    answer = curl(path, "--header", "Expect: 100-continue", "--json", body)
    assert answer.status == 200
    assert "100 Continue" in answer.errors


@pytest.mark.parametrize("path", ["/v1/chat/completions", INFER], ids=["asgi", "hot path"])
def test_a_body_in_chunks(curl: Curl, chat: Running, path: str) -> None:
    body = infer_body([[1, 2, 3]] * 2000) if path == INFER else json.dumps(QUESTION)
    headers = ("--header", "Transfer-Encoding: chunked", "--header", "Expect:")
    answer = curl(
        path, *headers, "--header", "Content-Type: application/json", "--data-binary", "@-",
        stdin=body.encode(),
    )  # fmt: skip
    assert answer.status == 200, answer.body
    assert "chunked" in answer.errors


@pytest.mark.parametrize(
    ("path", "method", "error"),
    [
        ("/v1/chat/completions", "GET", lambda body: body["error"]["message"]),
        ("/v1/models", "DELETE", lambda body: body["error"]["message"]),
        ("/v1/models", "OPTIONS", lambda body: body["error"]["message"]),
        ("/v1/classify", "GET", lambda body: body["error"]["message"]),
        (INFER, "GET", lambda body: body["error"]),
        ("/v2/repository/index", "GET", lambda body: body["error"]),
        ("/api/v1/models", "PUT", lambda body: body["error"]["message"]),
        ("/healthz", "POST", lambda body: body["error"]["message"]),
    ],
)
def test_another_method_is_refused_in_the_door_s_shape(
    curl: Curl, path: str, method: str, error: Any
) -> None:
    answer = curl(path, "--request", method)
    assert answer.status == 405
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["allow"]
    assert method in error(answer.json())


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/v2/models/adder"])
def test_heads_have_no_body(curl: Curl, path: str) -> None:
    answer = curl(path, "--head")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v2/nothing", "/api/v1/nothing"])
def test_unknown_paths_are_told_in_the_door_s_shape(curl: Curl, path: str) -> None:
    answer = curl(path, "--header", "X-Request-Id: my-id.1", "--header", f"traceparent: {TRACE}")
    assert answer.status == 404
    error = answer.json()["error"]
    message = error if path.startswith("/v2") else error["message"]
    assert "/nothing" in message
    assert answer.headers["x-request-id"] == "my-id.1"
    assert answer.headers["traceparent"].split("-")[1] == TRACE.split("-")[1]


@pytest.mark.parametrize("path", ["/v1/models", "/v2/models/adder", "/api/v1/models", INFER])
def test_traces_and_request_ids_go_through(curl: Curl, path: str) -> None:
    body = ("--json", infer_body([[1, 2, 3]])) if path == INFER else ()
    answer = curl(
        path, *body, "--header", f"traceparent: {TRACE}", "--header", "X-Request-Id: my-id.1"
    )
    assert answer.status == 200
    assert answer.headers["x-request-id"] == "my-id.1"
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == tuple(TRACE.split("-")[i] for i in (0, 1, 3))
    assert re.fullmatch(r"[0-9a-f]{16}", span)
    assert span != TRACE.split("-")[2]


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/models", INFER])
def test_ids_that_could_do_harm_are_replaced(curl: Curl, path: str) -> None:
    body = ("--json", infer_body([[1, 2, 3]])) if path == INFER else ()
    answer = curl(
        path, *body, "--header", "traceparent: 00-xyz", "--header", f"X-Request-Id: {'a b' * 50}"
    )
    assert answer.status == 200
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
    assert "xyz" not in answer.headers.get("traceparent", "")


@pytest.mark.parametrize("path", ["/v1/models", "/v2/models/adder", "/api/v1/models", INFER])
def test_who_sends_no_key_is_refused_in_the_door_s_shape(curl: Curl, path: str) -> None:
    body = ("--json", infer_body([[1, 2, 3]])) if path == INFER else ()
    answer = curl(path, *body, key=False)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = answer.json()["error"]
    assert "API key" in (error if path.startswith("/v2") else error["message"])


@pytest.mark.parametrize("path", ["/v1/models/", "/v2/", "/api/v1/models/"])
def test_nobody_is_redirected_to_where_the_host_header_says(curl: Curl, path: str) -> None:
    for host, status in (("elsewhere.example", 421), ("localhost", 404)):
        answer = curl(path, "--header", f"Host: {host}")
        assert answer.status == status
        assert "location" not in answer.headers
        assert host.encode() not in answer.body


def test_probes_metrics_and_the_description(curl: Curl) -> None:
    assert curl("/healthz", key=False).body == b"ok\n"
    assert curl("/readyz", key=False).json()["ready"] is True
    document = curl("/openapi.json", key=False).json()
    assert {"/v1/chat/completions", "/v2/models/{model}/infer", "/api/v1/models"} <= set(
        document["paths"]
    )
    docs = curl("/docs", key=False)
    assert docs.headers["content-type"].startswith("text/html")
    metrics = curl("/metrics").body.decode()
    assert 'modelry_requests_total{deployment="adder"' in metrics
    assert curl("/metrics", key=False).status == 401
