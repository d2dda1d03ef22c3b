"""Uploads against a server that is a function: what is sent, and what happens when it breaks."""

import hashlib
import json
import time

import httpx2
import pytest

from modelry.client import Client
from modelry.client.errors import DigestMismatch, InvalidInput, PermissionDenied, Unavailable
from modelry.client.operations import uploads
from modelry.client.operations.uploads import upload_file

CONTENT = bytes(range(256)) * 40
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Uploads:
    """Keeps one upload in memory; `breaks` are what the next requests run into."""

    def __init__(self):
        self.kept: set[str] = set()
        self.held = bytearray()
        self.begun = None
        self.breaks = []
        self.log = []

    def __call__(self, request):
        body = request.read()
        self.log.append(request.method)
        step = self.breaks.pop(0) if self.breaks else None
        if isinstance(step, httpx2.Response):
            return step
        answer = self.answer(request, body)
        if isinstance(step, Exception):  # the server did it, but the answer is lost
            raise step
        return answer

    def answer(self, request, body):
        if request.method == "POST" and request.url.path.endswith("/uploads"):
            self.begun = json.loads(body)
            self.held.clear()
            return self.told(201)
        if request.url.path.endswith("/versions"):
            version = {"model": "m", "version": 1, "digest": "d", "task": "t", "runtime": "r"}
            return httpx2.Response(201, json={"version": version, "sent": body.decode()})
        if self.begun is None:
            return httpx2.Response(404, json={"error": {"code": "not_found", "message": "gone"}})
        if request.method == "PATCH":
            if int(request.headers["upload-offset"]) != len(self.held):
                error = {"code": "conflict", "message": f"it is at {len(self.held)}"}
                return httpx2.Response(409, json={"error": error})
            self.held += body
        return self.told(200)

    def told(self, status):
        size = self.begun["size_bytes"]
        complete = len(self.held) == size or self.begun["digest"] in self.kept
        return httpx2.Response(
            status,
            json={
                "upload_id": "u1",
                "size_bytes": size,
                "received_bytes": size if complete else len(self.held),
                "digest": self.begun["digest"] if complete else None,
                "complete": complete,
            },
        )


@pytest.fixture
def server():
    return Uploads()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "PIECE_BYTES", 1000)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    return tmp_path / "model.onnx"


def send(server, file):
    told = []
    with Client("http://x", transport=httpx2.MockTransport(server)) as client:
        digest = client._transport.run(upload_file(file, progress=told.append))
    return digest, told


def test_a_file_is_hashed_and_sent_in_pieces(server, file):
    digest, told = send(server, file)
    assert digest == DIGEST
    assert bytes(server.held) == CONTENT
    assert server.log == ["POST"] + ["PATCH"] * 11
    phases = [one.phase for one in told]
    assert phases == ["hashing"] * 11 + ["uploading"] * 11
    done = [one.done_bytes for one in told if one.phase == "uploading"]
    assert done == sorted(done)
    assert done[-1] == told[-1].total_bytes == len(CONTENT)


def test_what_is_there_is_not_sent(server, file):
    server.kept.add(DIGEST)
    _, told = send(server, file)
    assert server.log == ["POST"]
    assert told[-1].phase == "present"


@pytest.mark.parametrize(
    "step",
    [
        httpx2.ReadError("cut"),
        httpx2.ConnectError("down"),
        httpx2.RemoteProtocolError("closed"),
        httpx2.WriteTimeout("slow"),
        httpx2.Response(503, json={"error": {"code": "overloaded", "message": "full"}}),
        httpx2.Response(500, json={"error": {"code": "internal_error", "message": "oops"}}),
        httpx2.Response(502, text="<html>bad gateway</html>"),
    ],
)
@pytest.mark.parametrize("where", [1, 5, 11])
def test_a_break_anywhere_only_costs_time(server, file, step, where):
    server.breaks = [None] * where + [step]
    assert send(server, file)[0] == DIGEST
    assert bytes(server.held) == CONTENT


def test_breaks_in_a_row_are_survived(server, file):
    server.breaks = [None, None] + [httpx2.ConnectError("down")] * 9
    assert send(server, file)[0] == DIGEST
    assert bytes(server.held) == CONTENT


def test_an_upload_that_is_gone_is_begun_again(server, file):
    def forget(request):
        if len(server.log) == 4:
            server.begun = None
        return Uploads.__call__(server, request)

    with Client("http://x", transport=httpx2.MockTransport(forget)) as client:
        assert client._transport.run(upload_file(file)) == DIGEST
    assert bytes(server.held) == CONTENT
    assert server.log.count("POST") == 2


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(403, "permission_denied", PermissionDenied), (409, "digest_mismatch", DigestMismatch),
     (418, "invalid_input", InvalidInput)],
)  # fmt: skip
def test_what_will_not_pass_is_told_at_once(server, file, status, code, error):
    told = {"error": {"code": code, "message": "no"}}
    server.breaks = [None, httpx2.Response(status, json=told)]
    with pytest.raises(error):
        send(server, file)
    assert server.log == ["POST", "PATCH"]


def test_patience_ends_when_nothing_moves(server, file, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    server.breaks = [None] + [httpx2.Response(502, text="x")] * 1000
    with pytest.raises(Unavailable):
        send(server, file)
    assert 120 < now[0] < 140


def test_an_empty_file_and_one_that_shrinks_are_told(server, file, monkeypatch):
    monkeypatch.setattr(uploads, "_begin", lambda size, digest: shrinking(file, size, digest))
    with pytest.raises(InvalidInput, match="shorter"):
        send(server, file)
    file.write_bytes(b"")
    with pytest.raises(InvalidInput, match="empty"):
        send(server, file)


def shrinking(file, size, digest):
    upload = yield from begin(size, digest)
    file.write_bytes(CONTENT[:10])
    return upload


begin = uploads._begin


def test_a_bare_file_is_registered_with_its_name(server, file):
    with Client("http://x", transport=httpx2.MockTransport(server)) as client:
        assert client.register(file, name="pets", task="tensor").version.version == 1
    assert server.log[-1] == "POST"
