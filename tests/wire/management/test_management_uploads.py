"""Uploads over the wire: broken off, at once, at wrong places, with wrong bytes."""

import asyncio
import hashlib
import threading
import tracemalloc

import pytest
from tests.support.loopback import served
from tests.support.management import adder

from modelry.domain.errors import Cancelled, DeadlineExceeded
from modelry.protocols.http.incoming import PIECE_BYTES, PIECES, IncomingBytes

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4096
"""1 MiB."""
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


async def begin(client, size=2**20, digest=None):
    answer = await client.post("/uploads", json={"size_bytes": size, "digest": digest})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def send(client, upload, content, offset=0, **headers):
    return await client.patch(
        f"/uploads/{upload['upload_id']}",
        content=content,
        headers={"upload-offset": str(offset), **headers},
    )


async def received(client, upload):
    return (await client.get(f"/uploads/{upload['upload_id']}")).json()["received_bytes"]


async def test_in_pieces(owner):
    upload = await begin(owner, digest=DIGEST)
    assert (upload["received_bytes"], upload["complete"], upload["digest"]) == (0, False, None)
    first = await send(owner, upload, CONTENT[:1000])
    assert (first.json()["received_bytes"], first.headers["upload-offset"]) == (1000, "1000")
    assert not first.json()["complete"]
    last = await send(owner, upload, CONTENT[1000:], 1000)
    assert (last.json()["complete"], last.json()["digest"]) == (True, DIGEST)
    again = await begin(owner, digest=DIGEST)
    assert again["complete"]


async def test_wrong_offsets_are_told_the_right_one(owner):
    upload = await begin(owner)
    await send(owner, upload, CONTENT[:1000])
    for offset in (0, 999, 1001, 2**53):
        answer = await send(owner, upload, CONTENT[1000:], offset)
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "conflict"
        assert "1000" in answer.json()["error"]["message"]
    assert await received(owner, upload) == 1000


async def test_offsets_that_are_none(owner):
    upload = await begin(owner)
    for offset in ("-1", "x", "1.5", "", str(2**70), "NaN", "9" * 5000):
        answer = await send(owner, upload, b"x", offset)
        assert answer.status_code == 400, offset
        assert answer.json()["error"]["param"] == "upload-offset"


async def test_wrong_bytes_start_again(owner):
    upload = await begin(owner, digest=DIGEST)
    answer = await send(owner, upload, b"\1" + CONTENT[1:])
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "digest_mismatch"
    assert await received(owner, upload) == 0
    assert (await send(owner, upload, CONTENT)).json()["complete"]


async def test_more_bytes_than_announced_are_not_kept(owner):
    upload = await begin(owner)
    await send(owner, upload, CONTENT[:10])
    answer = await send(owner, upload, CONTENT, 10)
    assert answer.status_code == 413
    assert await received(owner, upload) == 10


async def test_a_compressed_body_is_refused(owner):
    upload = await begin(owner)
    answer = await send(owner, upload, CONTENT, **{"content-encoding": "gzip"})
    assert answer.json()["error"]["code"] == "malformed_body"


async def test_an_upload_is_forgotten(owner):
    upload = await begin(owner)
    assert (await owner.delete(f"/uploads/{upload['upload_id']}")).status_code == 204
    for answer in (
        await send(owner, upload, CONTENT),
        await owner.get(f"/uploads/{upload['upload_id']}"),
        await owner.delete(f"/uploads/{upload['upload_id']}"),
        await owner.get("/uploads/..%2f..%2fetc"),
    ):
        assert answer.status_code == 404


async def test_two_uploads_at_once(server, owner):
    uploads = [await begin(owner), await begin(owner, len(adder()))]
    done = await asyncio.gather(send(owner, uploads[0], CONTENT), send(owner, uploads[1], adder()))
    assert [one.json()["complete"] for one in done] == [True, True]
    assert done[0].json()["digest"] == DIGEST
    body = {"file": {"name": "a.onnx", "digest": done[1].json()["digest"]}}
    assert (await owner.post("/versions", json=body)).status_code == 201


async def test_two_writers_of_one_upload(owner):
    upload = await begin(owner)
    may_end = asyncio.Event()

    async def slowly():
        yield CONTENT[:1000]
        await may_end.wait()
        yield CONTENT[1000:]

    first = asyncio.create_task(send(owner, upload, slowly()))
    while await received(owner, upload) < 1000:
        await asyncio.sleep(0.01)
    second = await send(owner, upload, CONTENT[1000:], 1000)
    assert second.status_code == 409
    may_end.set()
    assert (await first).json()["digest"] == DIGEST


async def test_stuck_uploads_leave_the_rest_alone(server, owner):
    """As many as may stand still: others are refused at once, and everything else answers."""
    server.app.state.services.upload_threads._most = 3
    may_end = asyncio.Event()

    async def stuck():
        yield b"x"
        await may_end.wait()
        yield b"y"

    uploads = [await begin(owner, 2) for _ in range(4)]
    sending = [asyncio.create_task(send(owner, one, stuck())) for one in uploads[:-1]]
    await asyncio.sleep(0.1)
    refused = await send(owner, uploads[-1], b"xy")
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert (await owner.get("/models")).status_code == 200
    may_end.set()
    done = await asyncio.gather(*sending)
    assert {one.json()["complete"] for one in done} == {True}
    assert (await send(owner, uploads[-1], b"xy")).json()["complete"]


# ---- broken off, over real connections --------------------------------------------------------


async def broken_off(port, token, upload, content):
    """Send some bytes of an upload that was announced larger, and go away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"PATCH /api/v1/uploads/{upload['upload_id']} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {upload['size_bytes']}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


async def test_an_upload_that_is_cut_off_goes_on(server, owner):
    async with served(server.asgi) as port:
        upload = await begin(owner, digest=DIGEST)
        _, writer = await broken_off(port, server.tokens["owner"], upload, CONTENT[:500_000])
        while await received(owner, upload) < 500_000:
            await asyncio.sleep(0.01)
        writer.close()
        answer = await send(owner, upload, CONTENT[500_000:], 500_000)
        while answer.status_code == 409:  # the server has yet to see that the first one is gone
            await asyncio.sleep(0.02)
            answer = await send(owner, upload, CONTENT[500_000:], 500_000)
        assert answer.json()["digest"] == DIGEST
    assert not [one for one in threading.enumerate() if one.name == "management"]


async def test_a_refused_upload_is_answered_while_it_is_sent(server, owner):
    async with served(server.asgi) as port:
        upload = await begin(owner, 2**23)
        await send(owner, upload, b"x" * 10)
        reader, writer = await broken_off(port, server.tokens["owner"], upload, b"x" * 2**20)
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 409")
        writer.close()


# ---- the bridge -------------------------------------------------------------------------------


async def test_memory_stays_small_whatever_the_size():
    total = 64 * 2**20
    chunk = b"x" * 2**16

    async def stream():
        for _ in range(total // len(chunk)):
            yield chunk
            await asyncio.sleep(0)

    incoming = IncomingBytes(stream())
    tracemalloc.start()
    try:
        feeding = asyncio.create_task(incoming.feed())
        read = await asyncio.to_thread(lambda: sum(len(piece) for piece in incoming))
        await feeding
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == total
    assert peak < (PIECES + 4) * PIECE_BYTES


async def test_a_silent_sender_is_given_up():
    async def stream():
        yield b"abc"
        await asyncio.Event().wait()

    incoming = IncomingBytes(stream(), idle_s=0.05)
    feeding = asyncio.create_task(incoming.feed())
    read = []
    with pytest.raises(DeadlineExceeded):
        await asyncio.to_thread(read.extend, incoming)
    assert read == [b"abc"]
    feeding.cancel()


async def test_cancelling_the_feed_ends_the_reader():
    async def stream():
        yield b"abc"
        await asyncio.Event().wait()

    incoming = IncomingBytes(stream())
    feeding = asyncio.create_task(incoming.feed())
    reading = asyncio.create_task(asyncio.to_thread(list, incoming))
    await asyncio.sleep(0.05)
    feeding.cancel()
    with pytest.raises(Cancelled):
        await reading
