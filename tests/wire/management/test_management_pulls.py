"""The catalogue and pulls: progress, refusals, and callers who go away."""

import asyncio
import json
import threading
import time

import pytest
from tests.support.loopback import served
from tests.support.management import adder, copied

from modelry.domain.errors import Cancelled
from modelry.testing.catalog_fakes import FakeProgress

pytestmark = pytest.mark.anyio

SOURCE = "pypi://adder==1.0/adder.onnx"


@pytest.fixture
def database_url(tmp_path, template):
    """SQLite only: these tests are about fetching, and take their time."""
    return copied(template, tmp_path)


class SlowFetch:
    """Stands for `FakeFetcher.fetch`: tells 1000 times how far it is, over some time."""

    def __init__(self, server, seconds):
        self.real = server.fetcher.fetch
        self.pause = seconds / 1000
        self.stopped = threading.Event()
        server.fetcher.fetch = self

    def __call__(self, source, destination, on_progress=None):
        try:
            for done in range(1000):
                on_progress(FakeProgress(source, "downloading", done, 1000))
                time.sleep(self.pause)
        except Cancelled:
            self.stopped.set()
            raise
        return self.real(source, destination, on_progress)


@pytest.fixture
def published(server, tmp_path):
    path = tmp_path / "adder.onnx"
    path.write_bytes(adder())
    server.fetcher.files[SOURCE] = path


async def lines(client, body):
    answer = await client.post("/pulls", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_the_catalogue(owner):
    assert (await owner.get("/catalog")).json() == {
        "entries": [
            {
                "name": "ready-made",
                "task": "tensor",
                "description": "Adds.",
                "license": "MIT",
                "size_bytes": 123,
                "files": {"model": SOURCE},
                "manifest": {
                    "name": "ready-made",
                    "task": "tensor",
                    "files": {"model": SOURCE},
                    "metadata": {"description": "Adds.", "license": "MIT", "size_bytes": "123"},
                },
            }
        ]
    }


async def test_a_starter_model(owner, published):
    *progress, last = await lines(owner, {"source": "ready-made"})
    assert progress == [
        {
            "progress": {
                "source": SOURCE,
                "phase": "done",
                "done_bytes": len(adder()),
                "total_bytes": len(adder()),
            }
        }
    ]
    assert last["registration"]["created"]
    version = last["registration"]["version"]
    assert (version["ref"], version["source"]) == ("ready-made@1", "catalog:ready-made")
    assert (await owner.get("/models/ready-made/versions/1")).json() == version


async def test_a_starter_model_under_another_name(owner, published):
    *_, last = await lines(owner, {"source": "ready-made", "name": "mine", "task": "tensor"})
    assert last["registration"]["version"]["ref"] == "mine@1"
    other = await owner.post("/pulls", json={"source": "ready-made", "task": "chat"})
    assert (other.status_code, other.json()["error"]["param"]) == (400, "task")


async def test_a_source_and_a_manifest(owner, published):
    *_, single = await lines(owner, {"source": SOURCE, "name": "one", "task": "tensor"})
    assert single["registration"]["version"]["source"] == f"{SOURCE}@exact"
    manifest = f"name: two\ntask: tensor\nfiles: {{model: '{SOURCE}'}}\n"
    *_, declared = await lines(owner, {"manifest": manifest})
    assert declared["registration"]["version"]["ref"] == "two@1"


async def test_progress_is_thinned_out(server, owner, published):
    SlowFetch(server, 0.9)
    *progress, last = await lines(owner, {"source": SOURCE})
    assert "registration" in last
    assert 3 <= len(progress) <= 8
    done = [one["progress"]["done_bytes"] for one in progress[:-1]]
    assert done == sorted(done)
    assert progress[-1]["progress"]["phase"] == "done"


async def test_what_fails_at_once_has_a_status(owner):
    for body, status, code in (
        ({"source": "nothing"}, 404, "not_found"),
        ({"source": "pypi://gone==1.0/x.onnx"}, 502, "source_unavailable"),
        ({"source": "/etc/passwd"}, 400, "invalid_input"),
        ({"source": "ftp://x/y"}, 400, "invalid_input"),
        ({"source": "x\x00y"}, 400, "invalid_input"),
        ({"manifest": "name: [1"}, 422, "manifest_invalid"),
        ({"manifest": "a: 1\n---\nb: 1"}, 422, "manifest_invalid"),
        ({"manifest": "name: a\ntask: tensor\nfiles: {model: /etc/passwd}"}, 400, "invalid_input"),
        ({}, 400, "invalid_input"),
        ({"source": "a", "manifest": "b"}, 400, "invalid_input"),
        ({"manifest": "b", "name": "c"}, 400, "invalid_input"),
    ):
        answer = await owner.post("/pulls", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body


async def test_web_addresses_are_for_admins(server):
    async with server.client("developer") as client:
        answer = await client.post("/pulls", json={"source": "https://example.org/x.onnx"})
        assert answer.json()["error"]["code"] == "permission_denied"


async def test_what_fails_later_is_told_in_the_stream(server, owner):
    SlowFetch(server, 0.8)
    first, *_, last = await lines(owner, {"source": SOURCE})
    assert first["progress"]["phase"] == "downloading"
    assert last["error"]["code"] == "source_unavailable"


async def test_a_defect_is_told_in_the_stream_without_details(server, owner, caplog):
    slow = SlowFetch(server, 0.8)
    slow.real = lambda *_: {}["secret"]
    *_, last = await lines(owner, {"source": SOURCE})
    assert last["error"]["code"] == "internal_error"
    assert "secret" not in str(last)
    assert "secret" in caplog.text


async def test_going_away_stops_the_fetch(server, owner, published):
    slow = SlowFetch(server, 60)
    async with served(server.asgi) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"source": SOURCE}).encode()
        writer.write(
            f"POST /api/v1/pulls HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            f"Authorization: Bearer {server.tokens['owner']}\r\n"
            "Content-Type: application/json\r\n\r\n".encode()
            + body
        )
        while b"progress" not in await reader.readline():
            pass
        writer.close()
        assert await asyncio.to_thread(slow.stopped.wait, 5)
    assert (await owner.get("/models")).json() == {"models": []}


async def test_only_so_many_pulls_at_once(server, owner, published):
    server.app.state.services.pull_threads._most = 1
    SlowFetch(server, 0.8)
    first = asyncio.create_task(lines(owner, {"source": SOURCE}))
    await asyncio.sleep(0.1)
    refused = await owner.post("/pulls", json={"source": SOURCE})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert "registration" in (await first)[-1]
    assert "registration" in (await lines(owner, {"source": SOURCE}))[-1]
