# ruff: noqa: D102 - the names of the tests say what they check
"""What every `BlobStore` must do. Subclass it and give the fixture `blobs`: an empty store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from modelry.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
)
from modelry.manifest.digests import digest_of_bytes
from modelry.services.catalog.ports import Blob, BlobStore

TENANT = "default"
CONTENT = bytes(range(256)) * 40
DIGEST = digest_of_bytes(CONTENT)
OTHER_DIGEST = digest_of_bytes(b"other")
HOSTILE = ["../x", "a/b", "..", "", "/etc/passwd", "a\x00b", "a" * 300, "ü", "a b"]


class ConnectionLost(Exception):
    """The sender went away."""


def pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    """`content` in pieces of `size`."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def cut_off(content: bytes) -> Iterator[bytes]:
    """`content`, and then nobody."""
    yield from pieces(content)
    raise ConnectionLost


def keep(blobs: BlobStore, content: bytes = CONTENT, tenant_id: str = TENANT) -> Blob:
    """Put `content`."""
    return blobs.put(tenant_id, pieces(content), limit_bytes=2**20)


def later(**span: float) -> datetime:
    """A moment after now."""
    return datetime.now(UTC) + timedelta(**span)


class BlobStoreContract:
    """The suite."""

    def test_a_content_comes_back(self, blobs: BlobStore) -> None:
        assert keep(blobs) == Blob(DIGEST, len(CONTENT))
        assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT
        sealed = blobs.open_sealed(TENANT, DIGEST)
        assert sealed.path.read_bytes() == CONTENT
        assert sealed.size_bytes == len(CONTENT)
        sealed.close()
        sealed.close()
        assert blobs.find(TENANT, DIGEST) == Blob(DIGEST, len(CONTENT))
        assert list(blobs.digests(TENANT)) == [DIGEST]

    def test_the_same_content_is_kept_once(self, blobs: BlobStore) -> None:
        assert keep(blobs) == keep(blobs)
        assert list(blobs.digests(TENANT)) == [DIGEST]

    def test_an_empty_content(self, blobs: BlobStore) -> None:
        empty = blobs.put(TENANT, [], limit_bytes=0)
        assert blobs.find(TENANT, empty.digest) == Blob(empty.digest, 0)
        assert b"".join(blobs.read(TENANT, empty.digest)) == b""
        sealed = blobs.open_sealed(TENANT, empty.digest)
        assert sealed.path.read_bytes() == b""
        sealed.close()

    def test_what_is_open_is_shared_and_cannot_be_changed(self, blobs: BlobStore) -> None:
        keep(blobs)
        one, other = blobs.open_sealed(TENANT, DIGEST), blobs.open_sealed(TENANT, DIGEST)
        assert os.path.sameopenfile(one.descriptor, other.descriptor)
        with pytest.raises(PermissionError):
            os.pwrite(one.descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(one.descriptor, 0)
        one.close()
        assert os.pread(other.descriptor, 9, 0) == CONTENT[:9]
        other.close()
        assert blobs.delete_older(TENANT, DIGEST, later(days=1))

    def test_ranges(self, blobs: BlobStore) -> None:
        keep(blobs)
        assert b"".join(blobs.read(TENANT, DIGEST, 3, 7)) == CONTENT[3:7]
        assert b"".join(blobs.read(TENANT, DIGEST, 10)) == CONTENT[10:]
        assert b"".join(blobs.read(TENANT, DIGEST, len(CONTENT))) == b""
        for start, end in ((-1, 3), (5, 4), (0, len(CONTENT) + 1)):
            with pytest.raises(InvalidInput):
                blobs.read(TENANT, DIGEST, start, end)

    def test_what_is_not_there(self, blobs: BlobStore) -> None:
        assert blobs.find(TENANT, DIGEST) is None
        assert not blobs.touch(TENANT, DIGEST)
        assert not blobs.delete_older(TENANT, DIGEST, later(days=1))
        assert blobs.partial(TENANT, "u1") is None
        blobs.discard(TENANT, "u1")
        with pytest.raises(NotFound):
            blobs.open_sealed(TENANT, DIGEST)
        with pytest.raises(NotFound):
            blobs.read(TENANT, DIGEST)
        with pytest.raises(NotFound):
            blobs.finish(TENANT, "u1")

    def test_tenants_do_not_share(self, blobs: BlobStore) -> None:
        keep(blobs)
        assert blobs.find("other", DIGEST) is None
        assert list(blobs.digests("other")) == []
        blobs.append(TENANT, "u1", 0, [b"x"], 5)
        assert blobs.partial("other", "u1") is None
        assert not blobs.delete_older("other", DIGEST, later(days=1))
        assert blobs.find(TENANT, DIGEST) is not None

    def test_a_broken_promise_is_refused(self, blobs: BlobStore) -> None:
        with pytest.raises(DigestMismatch):
            blobs.put(TENANT, [CONTENT], limit_bytes=2**20, digest=OTHER_DIGEST)
        assert list(blobs.digests(TENANT)) == []
        blobs.append(TENANT, "u1", 0, [CONTENT], len(CONTENT))
        with pytest.raises(DigestMismatch):
            blobs.finish(TENANT, "u1", OTHER_DIGEST)
        assert blobs.partial(TENANT, "u1") is None
        assert list(blobs.digests(TENANT)) == []

    def test_too_much_is_refused_and_leaves_nothing(self, blobs: BlobStore) -> None:
        with pytest.raises(PayloadTooLarge):
            blobs.put(TENANT, pieces(CONTENT), limit_bytes=len(CONTENT) - 1)
        assert list(blobs.digests(TENANT)) == []
        assert blobs.delete_incoming(TENANT, later(days=1)) == 0
        keep(blobs)

    def test_a_sender_that_goes_away_leaves_nothing(self, blobs: BlobStore) -> None:
        with pytest.raises(ConnectionLost):
            blobs.put(TENANT, cut_off(CONTENT), limit_bytes=2**20)
        assert list(blobs.digests(TENANT)) == []
        assert blobs.delete_incoming(TENANT, later(days=1)) == 0

    def test_a_partial_grows_and_is_finished(self, blobs: BlobStore) -> None:
        size = len(CONTENT)
        assert blobs.append(TENANT, "u1", 0, pieces(CONTENT[:5000]), size) == 5000
        partial = blobs.partial(TENANT, "u1")
        assert partial is not None
        assert partial.size_bytes == 5000
        assert partial.modified_at < later(minutes=1)
        assert list(blobs.partials(TENANT)) == ["u1"]
        assert blobs.append(TENANT, "u1", 5000, pieces(CONTENT[5000:]), size) == size
        assert blobs.finish(TENANT, "u1", DIGEST) == Blob(DIGEST, size)
        assert blobs.partial(TENANT, "u1") is None
        assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT

    def test_what_came_before_a_cut_is_kept(self, blobs: BlobStore) -> None:
        with pytest.raises(ConnectionLost):
            blobs.append(TENANT, "u1", 0, cut_off(CONTENT[:3000]), len(CONTENT))
        partial = blobs.partial(TENANT, "u1")
        assert partial is not None
        assert partial.size_bytes == 3000
        blobs.append(TENANT, "u1", 3000, [CONTENT[3000:]], len(CONTENT))
        assert blobs.finish(TENANT, "u1").digest == DIGEST

    def test_bytes_belong_at_the_end(self, blobs: BlobStore) -> None:
        blobs.append(TENANT, "u1", 0, [b"abc"], 10)
        for offset in (0, 2, 4, -1):
            with pytest.raises(Conflict, match="offset 3"):
                blobs.append(TENANT, "u1", offset, [b"x"], 10)

    def test_more_than_announced_is_not_kept(self, blobs: BlobStore) -> None:
        blobs.append(TENANT, "u1", 0, [b"abc"], 5)
        with pytest.raises(PayloadTooLarge):
            blobs.append(TENANT, "u1", 3, [b"d", b"ef"], 5)
        partial = blobs.partial(TENANT, "u1")
        assert partial is not None
        assert partial.size_bytes == 3
        assert blobs.append(TENANT, "u1", 3, [b"d", b"e"], 5) == 5

    def test_one_appends_at_a_time(self, blobs: BlobStore) -> None:
        is_appending, may_end = threading.Event(), threading.Event()

        def slowly() -> Iterator[bytes]:
            yield b"abc"
            is_appending.set()
            may_end.wait(30)

        thread = threading.Thread(
            target=blobs.append, args=(TENANT, "u1", 0, slowly(), 10), daemon=True
        )
        thread.start()
        assert is_appending.wait(30)
        with pytest.raises(Conflict):
            blobs.append(TENANT, "u1", 3, [b"x"], 10)
        with pytest.raises(Conflict):
            blobs.finish(TENANT, "u1")
        may_end.set()
        thread.join()
        assert blobs.append(TENANT, "u1", 3, [b"x"], 10) == 4

    def test_a_finished_content_does_not_change(self, blobs: BlobStore) -> None:
        blobs.append(TENANT, "u1", 0, [CONTENT], len(CONTENT))
        blobs.finish(TENANT, "u1")
        blobs.append(TENANT, "u1", 0, [b"again"], len(CONTENT))
        assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT

    def test_a_discarded_partial_begins_again(self, blobs: BlobStore) -> None:
        blobs.append(TENANT, "u1", 0, [b"abc"], 10)
        blobs.discard(TENANT, "u1")
        assert blobs.partial(TENANT, "u1") is None
        assert blobs.append(TENANT, "u1", 0, [b"x"], 10) == 1

    def test_only_what_is_old_is_deleted(self, blobs: BlobStore) -> None:
        keep(blobs)
        assert not blobs.delete_older(TENANT, DIGEST, later(hours=-1))
        assert blobs.find(TENANT, DIGEST) is not None
        assert blobs.delete_older(TENANT, DIGEST, later(hours=1))
        assert blobs.find(TENANT, DIGEST) is None

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_words_never_become_paths(self, blobs: BlobStore, hostile: str) -> None:
        for digest in (
            hostile,
            f"sha256:{hostile}",
            f"sha256:{'A' * 64}",
            DIGEST[:-1],
            DIGEST + "0",
        ):
            with pytest.raises(InvalidInput):
                blobs.open_sealed(TENANT, digest)
            with pytest.raises(InvalidInput):
                blobs.put(TENANT, [b"x"], limit_bytes=1, digest=digest)
            with pytest.raises(InvalidInput):
                blobs.delete_older(TENANT, digest, later(days=1))
        with pytest.raises(NotFound):
            blobs.append(TENANT, hostile, 0, [b"x"], 1)
        with pytest.raises(NotFound):
            blobs.find(hostile, DIGEST)

    def test_there_is_room(self, blobs: BlobStore) -> None:
        assert blobs.free_bytes() > 0
