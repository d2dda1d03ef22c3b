"""Bad input over real sockets: a clear error in the door's own shape, and nothing else suffers."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import re
import struct
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from tests.support.descriptors import open_descriptors, wait_until_closed
from tests.support.onnx_models import endless, model_of
from tests.support.operating import Operator, wait_until
from tests.support.raw_http import connect, head, read_answer
from tests.support.rogue import (
    ALLOCATE,
    CRASH,
    FAIL,
    HANG,
    HANG_LOCKED,
    LEAVE,
    MANIFEST,
    NO_OUTPUT,
    NONSENSE,
    install_rogue,
)
from tests.support.server import server as running_server
from tests.support.weights import smollm2_q4_1
from tests.support.wire_models import (
    COLOUR_MANIFEST,
    WORD_VECTORS_MANIFEST,
    dominant_colour,
    echo_of,
    multiplier,
    word_vectors,
)

MIB = 2**20
INFER = "/v2/models/healthy/infer"
KSERVE = re.compile(r"^/v1/models/[^/]+:(predict|explain)$")
ROW = [[1, 2, 3]]


def infer_body(data: Any = ROW, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": data, **changes}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


def told(answer: httpx2.Response, *statuses: int) -> str:
    """The message of an error that must be in its door's shape and tell no secrets."""
    assert answer.status_code in (statuses or range(400, 500)), (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json", answer.text
    error = answer.json()["error"]
    if answer.request.url.path.startswith("/v2") or KSERVE.search(answer.request.url.path):
        message = error
    else:
        message = error["message"]
        assert error["code"]
    assert isinstance(message, str)
    assert message
    assert not re.search(r"Traceback|/tmp/|/home/|site-packages|\.py\b|0x[0-9a-f]{8}", message)
    return message


class Hostile(Operator):
    """An operator whose server also has the misbehaving runtime."""

    def predict(self, name: str = "healthy", first: float = 0, **options: Any) -> httpx2.Response:
        """Ask a tensor model of three numbers."""
        return self.http.post(
            f"/v2/models/{name}/infer", json=infer_body([[first, 2, 3]]), **options
        )

    def assert_healthy(self) -> None:
        """The other models go on."""
        answer = self.predict()
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [0, 4, 6]

    def deploy_rogue(self, name: str, **wanted: Any) -> None:
        self.register_manifest(MANIFEST.format(name=name), {"model": multiplier(1)})
        self.deploy(name, **wanted)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """A server of its own, whose models are attacked."""
    folder = tmp_path_factory.mktemp("hostile")
    install_rogue(folder / "packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "packages"))
        with running_server(folder / "data") as running:
            operator = Hostile(running)
            operator.serve("healthy", multiplier(2))
            operator.serve("strings", echo_of("BYTES"))
            model, tokenizer = word_vectors()
            manifest = WORD_VECTORS_MANIFEST.format(name="words")
            operator.register_manifest(manifest, {"model": model, "tokenizer": tokenizer})
            operator.deploy("words")
            manifest = COLOUR_MANIFEST.format(name="colours")
            operator.register_manifest(manifest, {"model": dominant_colour()})
            operator.deploy("colours")
            operator.load("words")
            operator.load("colours")
            operator.predict()
            yield operator
            operator.close()


@pytest.fixture(scope="module")
def resources(hostile: Hostile) -> tuple[Counter[str], int]:
    """Open descriptors and child processes before the attacks."""
    process = hostile.process()
    return open_descriptors([process]), len(process.children(recursive=True))


@pytest.fixture(autouse=True)
def others_go_on(hostile: Hostile, resources: tuple[Counter[str], int]) -> Iterator[None]:
    """After each attack another model answers."""
    yield
    hostile.assert_healthy()


MALFORMED = {
    "nothing": b"",
    "cut off": b'{"a": [1, 2',
    "no object": b"[1, 2, 3]",
    "a word": b"nul",
    "no text": b"\xff\xfe\x00{",
    "not a number": b'{"temperature": NaN}',
    "too deep": b"[" * 50_000,
    "deep objects": b'{"a":' * 50_000,
    "beyond doubles": b'{"a": 1e999999}',
    "half a surrogate": b'{"model": "\\ud800"}',
    "unknown fields": b'{"surely_not_a_field": {"x": [1e308, -1e308]}}',
    "nul": b'{"model": "a\\u0000b", "name": "a\\u0000b"}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_no_json_route_takes_malformed_bodies(hostile: Hostile, body: bytes) -> None:
    """Every route that the server itself lists, with names that exist and names that do not."""
    paths = hostile.http.get("/openapi.json").json()["paths"]
    asked = 0
    for path, operations in paths.items():
        for method, operation in operations.items():
            if method not in ("post", "put", "patch") or "/unload" in path or "/load" in path:
                continue
            if path.startswith("/api/v1") and "requestBody" not in operation:
                continue  # it takes no body, and reads none
            url = re.sub(r"\{[^}]*\}", "healthy", path)
            headers = {"content-type": "application/json", "upload-offset": "0"}
            answer = hostile.http.request(method, url, content=body, headers=headers)
            asked += 1
            if not (url.endswith("/repository/index") and body == b""):
                told(answer)
    assert asked > 12


def test_odd_names_in_paths_are_told(hostile: Hostile) -> None:
    paths = hostile.http.get("/openapi.json").json()["paths"]
    odd = ["%00", "..%2f..%2fetc%2fpasswd", "a" * 5000, "%f0%9f%92%a5", "%ff", "a%0d%0ab", "-1"]
    for path, operations in paths.items():
        if "{" not in path:
            continue
        for method in operations:
            for name in odd:
                url = re.sub(r"\{[^}]*\}", name, path)
                answer = hostile.http.request(method, url, json={})
                assert 400 <= answer.status_code < 500, (method, url, answer.text)
                told(answer)


WRONG_TENSORS: dict[str, dict[str, Any]] = {
    "negative": infer_body(shape=[-1, 3]),
    "overflowing": infer_body(shape=[2**63, 3]),
    "overflowing together": infer_body(shape=[2**32, 2**32]),
    "empty and huge": infer_body(data=[], shape=[0, 2**62]),
    "fractions": infer_body(shape=[1.0, 3]),
    "lists": infer_body(shape=[[1], 3]),
    "a text": infer_body(shape="1x3"),
    "no shape": infer_body(shape=None),
    "booleans": infer_body(shape=[True, 3]),
    "many dimensions": infer_body(shape=[1] * 40),
    "another rank": infer_body(shape=[3]),
    "fewer elements": infer_body(data=[1, 2]),
    "more elements": infer_body(data=[1, 2, 3, 4]),
    "other nesting": infer_body(data=[[1], [2], [3]]),
    "texts": infer_body(data=["1", "2", "3"]),
    "nulls": infer_body(data=[None, 1, 2]),
    "too large": infer_body(data=[1e39, 2, 3]),
    "objects": infer_body(data={"0": 1}),
    "another type": infer_body(datatype="FP64"),
    "no type": infer_body(datatype=None),
    "an unknown type": infer_body(datatype="FP7"),
    "another name": infer_body(name="z"),
    "a number for a name": infer_body(name=7),
    "no data": infer_body(data=None),
    "twice": {"inputs": infer_body()["inputs"] * 2},
    "too many": {"inputs": infer_body()["inputs"] * 1000},
    "none": {"inputs": []},
    "no list": {"inputs": {}},
    "shared memory": infer_body(data=None, parameters={"shared_memory_region": "r"}),
    "an output": {**infer_body(), "outputs": [{"name": "z"}]},
    "an output twice": {**infer_body(), "outputs": [{"name": "y"}] * 2},
    "unknown fields": {**infer_body(), "colour": "red"},
    "a long id": {**infer_body(), "id": "i" * 10_000},
}


@pytest.mark.parametrize("body", WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_tensors_that_do_not_fit(hostile: Hostile, body: dict[str, Any]) -> None:
    told(hostile.http.post(INFER, json=body), 400)


@pytest.mark.parametrize("size", [-1, 0, 11, 13, 2**31, 2**63, 2**70, 12.0, "12", True, [12]])
def test_declared_and_real_lengths_that_disagree(hostile: Hostile, size: Any) -> None:
    body = json.dumps(infer_body(data=None, parameters={"binary_data_size": size})).encode()
    for length in (str(len(body)), str(len(body) - 1), "-1", "9" * 30, "", "1e3"):
        headers = {"inference-header-content-length": length}
        answer = hostile.http.post(INFER, content=body + b"\0" * 12, headers=headers)
        told(answer, 400)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\0",
        struct.pack("<I", 2**32 - 1) + b"a",
        struct.pack("<I", 1) + b"a",
        (struct.pack("<I", 1) + b"a") * 3,
        struct.pack("<I", 1) + b"a" + struct.pack("<I", 5) + b"abc",
    ],
)
def test_packed_texts_that_are_cut_off(hostile: Hostile, packed: bytes) -> None:
    tensor = {"name": "in_BYTES", "shape": [1, 2], "datatype": "BYTES"}
    body = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(packed)}}]}
    raw = json.dumps(body).encode()
    answer = hostile.http.post(
        "/v2/models/strings/infer",
        content=raw + packed,
        headers={"inference-header-content-length": str(len(raw))},
    )
    told(answer, 400)


def test_nan_and_infinity_go_through_as_binary_and_as_null_in_json(hostile: Hostile) -> None:
    values = np.array([np.nan, np.inf, -np.inf], "<f4").tobytes()
    parameters = {"binary_data_size": 12}
    for binary in (True, False):
        body = infer_body(data=None, parameters=parameters)
        body["parameters"] = {"binary_data_output": binary}
        raw = json.dumps(body).encode()
        headers = {"inference-header-content-length": str(len(raw))}
        answer = hostile.http.post(INFER, content=raw + values, headers=headers)
        assert answer.status_code == 200, answer.text
        if binary:
            out = np.frombuffer(answer.content[-12:], "<f4")
            assert np.isnan(out[0])
            assert out[1:].tolist() == [np.inf, -np.inf]
        else:
            assert answer.json()["outputs"][0]["data"] == [None, None, None]


HUGE = ["1e400", "1" + "0" * 400, "-1" + "0" * 400, str(2**63), str(-(2**63) - 1), "1e308",
        "-1e308", "0.1", '"7"', "true", "[]", "{}"]  # fmt: skip
CHAT_NUMBERS = [
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed",
    "n", "max_tokens", "max_completion_tokens", "top_logprobs",
]  # fmt: skip


@pytest.mark.parametrize("number", HUGE)
def test_huge_numbers_in_every_field(hostile: Hostile, number: str) -> None:
    """No such model exists, so that whatever is in range ends in 404."""
    asked = [
        ("/v1/chat/completions", f'"messages": [{{"role": "user", "content": "a"}}], "{name}"')
        for name in CHAT_NUMBERS
    ]
    asked += [
        ("/v1/completions", f'"prompt": "a", "{name}"')
        for name in (*CHAT_NUMBERS[:8], "max_tokens", "logprobs", "best_of")
    ]
    asked += [
        ("/v1/embeddings", '"input": "a", "dimensions"'),
        ("/v1/embeddings", '"input"'),
        ("/v1/rerank", '"query": "a", "documents": ["b"], "top_n"'),
        ("/v1/classify", '"text": "a", "top_k"'),
        ("/v1/chat/completions", '"messages"'),
    ]
    for path, before in asked:
        body = f'{{"model": "nobody", {before}: {number}}}'
        headers = {"content-type": "application/json"}
        told(hostile.http.post(path, content=body, headers=headers), 400, 404)


@pytest.mark.parametrize("number", [one for one in HUGE if one != "0.1"])
def test_huge_numbers_in_deployments_uploads_and_queries(hostile: Hostile, number: str) -> None:
    bodies = [
        f'{{"scale": {{"{name}": {number}}}}}'
        for name in ("min_replicas", "max_replicas", "idle_unload_s")
    ]
    bodies += [
        f'{{"limits": {{"{name}": {number}}}}}'
        for name in ("queue", "deadline_s", "load_timeout_s", "hang_timeout_s", "memory_bytes")
    ]
    bodies += [
        f'{{"traffic": [{{"version": {number}}}]}}',
        f'{{"traffic": [{{"version": 1, "percent": {number}}}]}}',
    ]
    headers = {"content-type": "application/json"}
    for body in bodies:
        answer = hostile.http.put("/api/v1/deployments/healthy", content=body, headers=headers)
        told(answer, 400, 404)
    body = f'{{"size_bytes": {number}}}'
    told(hostile.http.post("/api/v1/uploads", content=body, headers=headers), 400, 413)
    for query in ("usage?since=", "usage?until=", "models/healthy/alias-moves?limit="):
        told(hostile.http.get(f"/api/v1/{query}{number}"))


def test_bodies_of_100_mb_are_refused_before_they_are_sent(hostile: Hostile) -> None:
    process = hostile.process()
    before = process.memory_info().rss
    for path in (INFER, "/v1/chat/completions", "/v1/classify?model=colours", "/api/v1/versions"):
        kind = "image/png" if "classify" in path else "application/json"
        lines = (f"Content-Length: {100 * MIB}", f"Content-Type: {kind}")
        with connect(hostile.server) as connection:
            started = time.monotonic()
            connection.sendall(head(hostile.server, "POST", path, *lines))
            connection.sendall(b"[" * (600 * 1024))
            answer = read_answer(connection)
        assert answer.status == 413, (path, answer)
        assert "larger than the limit" in str(answer.json()["error"])
        assert time.monotonic() - started < 3
    assert process.memory_info().rss < before + 16 * MIB


def test_bodies_without_an_end_are_refused_when_they_pass_the_limit(hostile: Hostile) -> None:
    process = hostile.process()
    chunk = b"%x\r\n%s\r\n" % (MIB, b" " * MIB)
    for path in (INFER, "/v1/chat/completions"):
        lines = ("Transfer-Encoding: chunked", "Content-Type: application/json")
        with connect(hostile.server) as connection:
            connection.sendall(head(hostile.server, "POST", path, *lines))
            for _ in range(100):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            answer = read_answer(connection)
        assert answer.status == 413, (path, answer)
    resting = process.memory_info().rss
    assert resting < 500 * MIB


def test_strangers_cannot_make_the_server_keep_large_bodies(hostile: Hostile) -> None:
    for path in (INFER, "/v1/chat/completions", "/api/v1/versions"):
        lines = (f"Content-Length: {60 * MIB}",)
        with connect(hostile.server) as connection:
            connection.sendall(head(hostile.server, "POST", path, *lines, key=False))
            connection.sendall(b"[" * (600 * 1024))
            assert read_answer(connection).status == 401, path


def test_compressed_bodies_are_refused_whatever_they_hold(hostile: Hostile) -> None:
    bomb = gzip.compress(b"0" * (64 * MIB))
    paths = (INFER, "/v1/chat/completions", "/v1/embeddings", "/v1/classify", "/api/v1/versions")
    for path in paths:
        for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
            headers = {"content-encoding": encoding, "content-type": "application/json"}
            answer = hostile.http.post(path, content=bomb, headers=headers)
            assert "ncoding" in told(answer, 400) or "ompressed" in told(answer, 400)


def _png_of(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _picture(kind: str) -> bytes:
    written = io.BytesIO()
    noise = random.Random(0).randbytes(90 * 90 * 3)
    Image.frombytes("RGB", (90, 90), noise).save(written, kind)
    return written.getvalue()


IMAGES: dict[str, bytes] = {
    "many pixels": _png_of(100_000, 100_000, zlib.compress(b"")),
    "a bomb": _png_of(20_000, 20_000, zlib.compress(b"\0" * (20_001 * 20_000), 1)),
    "no pixels": _png_of(0, 0, zlib.compress(b"")),
    "negative": _png_of(2**32 - 1, 2**32 - 1, zlib.compress(b"")),
    "cut off png": _picture("PNG")[:-2000],
    "cut off jpeg": _picture("JPEG")[:500],
    "a gif": _picture("GIF"),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "text": b"hello",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "one byte": b"\x89",
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_images_that_are_none_or_bombs(hostile: Hostile, image: bytes) -> None:
    answer = hostile.http.post(
        "/v1/classify?model=colours", content=image, headers={"content-type": "image/png"}
    )
    assert answer.json()["error"]["code"] == "image_invalid", answer.text
    told(answer, 400)
    assert all(replica["restarts"] == 0 for replica in hostile.replicas("colours"))


def test_unknown_models_are_told_by_every_door(hostile: Hostile) -> None:
    message = [{"role": "user", "content": "a"}]
    asked: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "/v1/chat/completions", {"model": "nobody", "messages": message}),
        ("POST", "/v1/completions", {"model": "nobody", "prompt": "a"}),
        ("POST", "/v1/embeddings", {"model": "nobody", "input": "a"}),
        ("POST", "/v1/rerank", {"model": "nobody", "query": "a", "documents": ["b"]}),
        ("POST", "/v1/classify", {"model": "nobody", "text": "a"}),
        ("POST", "/v1/detect", {"model": "nobody", "image": "aGk="}),
        ("POST", "/v2/models/nobody/infer", infer_body()),
        ("GET", "/v2/models/nobody", None),
        ("GET", "/v2/models/nobody/ready", None),
        ("POST", "/v2/repository/models/nobody/load", {}),
        ("GET", "/api/v1/models/nobody", None),
        ("PUT", "/api/v1/deployments/nobody", {}),
        ("POST", "/api/v1/deployments/nobody/load", {}),
        ("GET", "/api/v1/deployments/nobody/logs", None),
    ]
    for method, path, body in asked:
        assert "nobody" in told(hostile.http.request(method, path, json=body), 404), path


def test_models_of_another_task_are_told(hostile: Hostile) -> None:
    message = [{"role": "user", "content": "a"}]
    for path, body in (
        ("/v1/chat/completions", {"model": "healthy", "messages": message}),
        ("/v1/embeddings", {"model": "healthy", "input": "a"}),
        ("/v1/classify", {"model": "words", "text": "a"}),
        ("/v1/detect", {"model": "colours", "image": "aGk="}),
    ):
        assert "task" in told(hostile.http.post(path, json=body), 400), path


def _refused_file(hostile: Hostile, content: bytes, name: str) -> str:
    digest = hostile.upload(content)
    body = {"file": {"name": name, "digest": digest}, "name": "bad", "task": "tensor"}
    return told(hostile.http.post("/api/v1/versions", json=body), 400, 422)


def _external(location: str) -> bytes:
    model = model_of(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, ("batch", 3))},
        {"y": (TensorProto.FLOAT, ("batch", 3))},
        {"w": np.ones(3, "f4")},
    )
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        weight.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


def test_model_files_that_are_cut_off_or_disguised(hostile: Hostile) -> None:
    onnx_file = multiplier(3)
    gguf = smollm2_q4_1().read_bytes()[:300_000]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("data.pkl", b"")
    cut = [(onnx_file[: len(onnx_file) * share // 10], "cut.onnx") for share in (3, 5, 9)]
    cut += [(gguf[:size], "cut.gguf") for size in (4, 24, 1000, 300_000)]
    disguised = [
        (pickle.dumps({"a": np.ones(3)}), "model.onnx"),
        (pickle.dumps(print, protocol=0), "model.onnx"),
        (archive.getvalue(), "model.onnx"),
        (b"\x7fELF" + b"\0" * 100, "model.gguf"),
        (b"#!/bin/sh\nrm -rf /\n", "model.onnx"),
        (b"GGUF" + b"\xff" * 100, "model.gguf"),
        (b"\x08" + b"\xff" * 100, "model.onnx"),
    ]
    for content, name in cut + disguised:
        assert _refused_file(hostile, content, name)
    for location in ("../../../etc/passwd", "/etc/passwd", "a/../../b", "weights.bin"):
        assert location.split("/")[-1] in _refused_file(hostile, _external(location), "ext.onnx")
    listed = hostile.call("GET", "/models")["models"]
    assert "bad" not in [model["name"] for model in listed]


def test_manifests_that_ask_for_what_they_must_not(hostile: Hostile) -> None:
    digest = hostile.upload(multiplier(1))
    for manifest in (
        "name: [",
        "name: a\ntask: tensor\nfiles: {model: ../../etc/passwd}\nruntime: nothing",
        "&a [*a, *a]",
        "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b]",
        "!!python/object/apply:os.system [id]",
        "name: ../x\ntask: tensor\nfiles: {model: m.onnx}",
        "name: a\ntask: tensor\nfiles: {model: m.onnx}\npre: [nothing: {a: 1e999}]",
        "{" * 10_000,
    ):
        body = {"manifest": manifest, "files": {"model": digest}}
        told(hostile.http.post("/api/v1/versions", json=body), 400, 404, 422)


RAW = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "noise": random.Random(1).randbytes(5000),
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "a long line": b"GET /" + b"a" * (2 * MIB),
    "a long header": b"GET / HTTP/1.1\r\nA: " + b"a" * (2 * MIB),
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 200_000,
    "a negative length": b"POST /v1/models HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /v1/x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "two framings": b"POST /v1/x HTTP/1.1\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n",
    "a huge chunk": b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"F" * 17,
    "an upgrade": b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", RAW.values(), ids=RAW)
def test_what_is_no_request_is_answered_or_cut_off(hostile: Hostile, sent: bytes) -> None:
    with connect(hostile.server, 5) as connection:
        try:
            connection.sendall(sent)
            connection.settimeout(2)
            answer = read_answer(connection)
        except (TimeoutError, ConnectionError):
            return  # it waits for the rest, or was cut off in mid-sending
        assert answer.status in (0, 400, 401, 404, 405, 413, 431), answer


def test_unfinished_requests_cost_nothing_when_they_are_left(hostile: Hostile) -> None:
    process = hostile.process()
    before = open_descriptors([process])
    body = json.dumps(infer_body()).encode()
    lines = (f"Content-Length: {len(body) + 10}",)
    left = [connect(hostile.server) for _ in range(50)]
    for at, connection in enumerate(left):
        path = INFER if at % 2 else "/v1/embeddings"
        request = head(hostile.server, "POST", path, *lines) + body
        connection.sendall(request[: 20 + at * 5])
    for connection in left:
        connection.close()
    wait_until_closed([process], before, more=2, timeout_s=5)
    assert hostile.open_requests() == 0


@pytest.mark.parametrize("deed", [CRASH, LEAVE], ids=["crashes", "leaves"])
def test_a_model_that_ends_its_process_under_a_request(hostile: Hostile, deed: int) -> None:
    if deed == CRASH:
        hostile.deploy_rogue("fragile")
        hostile.load("fragile")
    told(hostile.predict("fragile", deed), 503)
    started = time.monotonic()
    assert hostile.predict("fragile").status_code == 200
    assert time.monotonic() - started < 10
    assert hostile.replicas("fragile")[0]["restarts"] >= 1


def test_a_model_that_raises_or_answers_nonsense_is_told_and_goes_on(hostile: Hostile) -> None:
    hostile.deploy_rogue("odd")
    hostile.load("odd")
    for deed in (FAIL, NONSENSE, NO_OUTPUT):
        assert told(hostile.predict("odd", deed), 500)
        assert hostile.predict("odd").status_code == 200
    assert hostile.replicas("odd")[0]["restarts"] == 0


@pytest.mark.parametrize("deed", [HANG, HANG_LOCKED], ids=["ignores", "holds all threads"])
def test_a_model_that_hangs_is_ended_and_comes_back(hostile: Hostile, deed: int) -> None:
    if deed == HANG:
        hostile.deploy_rogue("slow", limits={"deadline_s": 60, "hang_timeout_s": 2})
        hostile.load("slow")
    started = time.monotonic()
    answer = hostile.predict("slow", deed, timeout=40)
    told(answer, 503, 504)
    assert time.monotonic() - started < 12
    assert hostile.predict("slow", timeout=40).status_code == 200
    assert hostile.replicas("slow")[0]["restarts"] >= 1


def test_a_graph_without_end_is_stopped_by_its_deadline(hostile: Hostile) -> None:
    hostile.register("endless", bytes(endless().SerializeToString()))
    hostile.deploy("endless", limits={"deadline_s": 1, "hang_timeout_s": 20})
    hostile.load("endless")
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    started = time.monotonic()
    answer = hostile.http.post("/v2/models/endless/infer", json={"inputs": [tensor]}, timeout=40)
    told(answer, 504)
    assert time.monotonic() - started < 10
    wait_until(lambda: hostile.replicas("endless")[0]["in_flight"] == 0, "the slot is free", 15)


def test_an_input_that_fails_a_batch_does_not_fail_the_others_in_it(hostile: Hostile) -> None:
    model = model_of(
        [helper.make_node("Gather", ["table", "at"], ["y"])],
        {"at": (TensorProto.INT64, ("batch",))},
        {"y": (TensorProto.FLOAT, ("batch",))},
        {"table": np.arange(10, dtype="f4")},
    )
    hostile.register("table", bytes(model.SerializeToString()))
    hostile.deploy("table")
    hostile.load("table")

    def asked(at: int) -> httpx2.Response:
        tensor = {"name": "at", "shape": [1], "datatype": "INT64", "data": [at]}
        return hostile.http.post("/v2/models/table/infer", json={"inputs": [tensor]})

    places = [at % 10 if at % 5 else 99 for at in range(200)]
    with ThreadPoolExecutor(max_workers=16) as asking:
        answers = list(asking.map(asked, places))
    for at, answer in zip(places, answers, strict=True):
        if at == 99:
            assert "99" in told(answer, 500)
        else:
            assert answer.json()["outputs"][0]["data"] == [at], answer.text
    assert hostile.replicas("table")[0]["restarts"] == 0


def test_a_model_that_allocates_without_end_is_ended_at_its_limit(hostile: Hostile) -> None:
    hostile.deploy_rogue("greedy", limits={"memory_bytes": 400 * MIB})
    hostile.load("greedy")
    told(hostile.predict("greedy", ALLOCATE, timeout=40), 500, 503)
    assert hostile.predict("greedy", timeout=40).status_code == 200


def test_a_request_that_makes_a_graph_allocate_terabytes_is_told(hostile: Hostile) -> None:
    model = model_of(
        [helper.make_node("ConstantOfShape", ["x"], ["y"])],
        {"x": (TensorProto.INT64, ("rank",))},
        {"y": (TensorProto.FLOAT, None)},
    )
    hostile.register("inflates", bytes(model.SerializeToString()))
    hostile.deploy("inflates", limits={"memory_bytes": 400 * MIB})
    hostile.load("inflates")

    def asked(*sizes: int) -> httpx2.Response:
        tensor = {"name": "x", "shape": [len(sizes)], "datatype": "INT64", "data": list(sizes)}
        return hostile.http.post("/v2/models/inflates/infer", json={"inputs": [tensor]})

    assert asked(2, 2).json()["outputs"][0]["data"] == [0, 0, 0, 0]
    told(asked(1_000_000, 1_000_000), 500, 503)
    assert asked(2, 2).status_code == 200


@pytest.mark.parametrize("deed", ["crash", "hang", "allocate", "fail"])
def test_a_model_that_misbehaves_as_it_is_loaded(hostile: Hostile, deed: str) -> None:
    name = f"loading-{deed}"
    limits = {"load_timeout_s": 2, "memory_bytes": 400 * MIB}
    hostile.deploy_rogue(name, engine_options={"at_load": deed}, limits=limits)
    answer = hostile.predict(name, timeout=30)
    told(answer, 500, 503)
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    index = hostile.http.post("/v2/repository/index").json()
    assert [one["state"] for one in index if one["name"] == name] in (["LOADING"], ["UNAVAILABLE"])
    assert hostile.http.get(f"/v2/models/{name}/ready").status_code == 503
    hostile.call("DELETE", f"/deployments/{name}")


def test_crashes_do_not_disturb_requests_to_others(hostile: Hostile) -> None:
    failures: list[Any] = []
    ended = threading.Event()

    def go_on() -> None:
        with hostile.server.http() as http:
            while not ended.is_set():
                answer = http.post(INFER, json=infer_body())
                if answer.status_code != 200:
                    failures.append(answer.text)

    asking = threading.Thread(target=go_on)
    asking.start()
    try:
        for _ in range(2):
            hostile.predict("fragile", CRASH)
            assert hostile.predict("fragile", timeout=30).status_code == 200
    finally:
        ended.set()
        asking.join()
    assert not failures


def test_nothing_is_left_behind(hostile: Hostile, resources: tuple[Counter[str], int]) -> None:
    kept = {"healthy", "strings", "words", "colours"}
    for deployment in hostile.call("GET", "/deployments")["deployments"]:
        if deployment["name"] not in kept:
            hostile.call("DELETE", f"/deployments/{deployment['name']}", timeout=60)
    process = hostile.process()
    descriptors, children = resources
    assert hostile.open_requests() == 0
    wait_until(lambda: len(process.children(recursive=True)) == children, "workers are gone", 10)
    wait_until_closed([process], descriptors, more=3, timeout_s=10)
    assert process.memory_info().rss < 600 * MIB
    scratch = [path for path in (hostile.server.data / "scratch").rglob("*") if path.is_file()]
    assert scratch == []
    assert isinstance(hostile.server.data, Path)


def test_the_log_tells_no_keys(hostile: Hostile) -> None:
    assert hostile.server.key not in hostile.server.output()
