"""Uploads: pieces, cuts, promises, limits, and what the collector takes away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.blobs.layout import Layout
from modelry.domain.access import Role
from modelry.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    KeyUnavailable,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    QuotaExceeded,
)
from modelry.manifest.digests import digest_of_bytes
from modelry.services.catalog import uploads as uploads_module
from modelry.services.catalog.collector import Collected, Collector
from modelry.services.catalog.quarantine import Quarantine
from modelry.services.catalog.uploads import EXPIRY, Uploads
from modelry.testing.blob_store import HOSTILE, ConnectionLost, cut_off, pieces
from modelry.testing.encryption import memory_encryption
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import OTHER_TENANT_ID, add_tenants, add_version, principal, version

CONTENT = b"0123456789" * 500
SIZE = len(CONTENT)
DIGEST = digest_of_bytes(CONTENT)
TENANT = "default"
ME = principal(Role.DEVELOPER)


class Clock:
    """The real time, which can be moved (files have real times)."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> MemoryDatabase:
    database = MemoryDatabase()
    add_tenants(database)
    return database


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "blobs", memory_encryption())


@pytest.fixture
def uploads(database: MemoryDatabase, blobs: FileBlobStore, clock: Clock) -> Uploads:
    return Uploads(
        database.catalog, blobs, clock, 10_000, Quarantine(database.catalog, blobs, clock)
    )


@pytest.fixture
def collector(database: MemoryDatabase, blobs: FileBlobStore, clock: Clock) -> Collector:
    return Collector(database.catalog, blobs, clock)


def is_known(database: MemoryDatabase, digest: str = DIGEST) -> bool:
    found = database.catalog.read(TENANT, lambda records: records.blobs.find(digest))
    return found is not None and found.size_bytes == SIZE


def test_an_upload_in_pieces(uploads: Uploads, database: MemoryDatabase) -> None:
    begun = uploads.begin(ME, SIZE)
    assert (begun.offset, begun.digest, begun.size_bytes) == (0, None, SIZE)
    half = uploads.append(ME, begun.upload_id, 0, pieces(CONTENT[:2000]))
    assert (half.offset, half.digest) == (2000, None)
    assert not is_known(database)
    done = uploads.append(ME, begun.upload_id, 2000, pieces(CONTENT[2000:]))
    assert (done.offset, done.digest) == (SIZE, DIGEST)
    assert is_known(database)
    assert uploads.get(ME, begun.upload_id) == done


def test_the_answer_that_got_lost_can_be_asked_for_again(uploads: Uploads) -> None:
    begun = uploads.begin(ME, SIZE, DIGEST)
    done = uploads.append(ME, begun.upload_id, 0, [CONTENT])
    assert uploads.append(ME, begun.upload_id, SIZE, []) == done
    with pytest.raises(Conflict):
        uploads.append(ME, begun.upload_id, 0, [CONTENT])


def test_an_upload_that_was_cut_goes_on(uploads: Uploads) -> None:
    begun = uploads.begin(ME, SIZE, DIGEST)
    with pytest.raises(ConnectionLost):
        uploads.append(ME, begun.upload_id, 0, cut_off(CONTENT[:3000]))
    assert uploads.get(ME, begun.upload_id).offset == 3000
    with pytest.raises(Conflict, match="offset 3000"):
        uploads.append(ME, begun.upload_id, 2999, [CONTENT[2999:]])
    assert uploads.append(ME, begun.upload_id, 3000, [CONTENT[3000:]]).digest == DIGEST


def test_all_bytes_there_but_the_server_died(uploads: Uploads, blobs: FileBlobStore) -> None:
    begun = uploads.begin(ME, SIZE)
    blobs.append(TENANT, begun.upload_id, 0, [CONTENT], SIZE)
    assert uploads.get(ME, begun.upload_id).digest == DIGEST


def test_renamed_but_not_committed(
    uploads: Uploads, blobs: FileBlobStore, database: MemoryDatabase
) -> None:
    """Killed between the rename and the commit: the promise tells which content it was."""
    begun = uploads.begin(ME, SIZE, DIGEST)
    blobs.append(TENANT, begun.upload_id, 0, [CONTENT], SIZE)
    blobs.finish(TENANT, begun.upload_id)
    assert not is_known(database)
    assert uploads.get(ME, begun.upload_id).digest == DIGEST
    assert is_known(database)


def test_a_known_content_is_not_sent_again(uploads: Uploads) -> None:
    first = uploads.begin(ME, SIZE, DIGEST)
    uploads.append(ME, first.upload_id, 0, [CONTENT])
    again = uploads.begin(ME, SIZE, DIGEST)
    assert (again.digest, again.offset) == (DIGEST, SIZE)
    wrong_size = uploads.begin(ME, SIZE - 1, DIGEST)
    assert wrong_size.digest is None


def test_a_content_of_another_tenant_is_sent(uploads: Uploads) -> None:
    """Knowing a digest gives nobody the bytes, nor the knowledge that somebody has them."""
    first = uploads.begin(ME, SIZE, DIGEST)
    uploads.append(ME, first.upload_id, 0, [CONTENT])
    stranger = principal(Role.DEVELOPER, OTHER_TENANT_ID)
    assert uploads.begin(stranger, SIZE, DIGEST).digest is None


def test_a_broken_promise_starts_again(uploads: Uploads, database: MemoryDatabase) -> None:
    begun = uploads.begin(ME, SIZE, digest_of_bytes(b"other"))
    with pytest.raises(DigestMismatch):
        uploads.append(ME, begun.upload_id, 0, [CONTENT])
    assert uploads.get(ME, begun.upload_id).offset == 0
    assert not is_known(database)


def test_limits(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (0, -1, 1.5, True, "7"):
        with pytest.raises(InvalidInput):
            uploads.begin(ME, size)  # type: ignore[arg-type] # hostile on purpose
    with pytest.raises(PayloadTooLarge):
        uploads.begin(ME, 10_001)
    with pytest.raises(InvalidInput):
        uploads.begin(ME, SIZE, "../../etc/passwd")
    begun = uploads.begin(ME, 10)
    with pytest.raises(PayloadTooLarge):
        uploads.append(ME, begun.upload_id, 0, [b"x" * 11])
    assert uploads.get(ME, begun.upload_id).offset == 0
    monkeypatch.setattr(FileBlobStore, "free_bytes", lambda self: uploads_module.SPARE_BYTES)
    with pytest.raises(Overloaded, match="no room"):
        uploads.begin(ME, 1)


def test_open_uploads_are_bounded(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads_module, "MAX_OPEN_UPLOADS", 2)
    first, _ = uploads.begin(ME, SIZE), uploads.begin(ME, SIZE)
    with pytest.raises(QuotaExceeded):
        uploads.begin(ME, SIZE)
    uploads.append(ME, first.upload_id, 0, [CONTENT])
    uploads.begin(ME, SIZE)


def test_a_tenants_storage_is_bounded(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_storage_limit", lambda tenant_id: 2 * SIZE)
    first = uploads.begin(ME, SIZE)
    uploads.append(ME, first.upload_id, 0, [CONTENT])
    uploads.begin(ME, SIZE - 1)
    with pytest.raises(QuotaExceeded, match="limit is"):
        uploads.begin(ME, 2)
    uploads.begin(ME, SIZE, DIGEST)
    with pytest.raises(QuotaExceeded):
        uploads.keep(ME.tenant_id, [b"x" * (SIZE + 1)])
    assert uploads.keep(ME.tenant_id, [CONTENT]).size_bytes == SIZE


def test_an_aborted_upload_is_gone(uploads: Uploads, blobs: FileBlobStore) -> None:
    begun = uploads.begin(ME, SIZE)
    uploads.append(ME, begun.upload_id, 0, [b"abc"])
    uploads.abort(ME, begun.upload_id)
    assert list(blobs.partials(TENANT)) == []
    for ask in (uploads.get, uploads.abort):
        with pytest.raises(NotFound):
            ask(ME, begun.upload_id)


def test_an_upload_of_another_tenant_is_not_there(uploads: Uploads) -> None:
    begun = uploads.begin(ME, SIZE)
    stranger = principal(Role.OWNER, OTHER_TENANT_ID)
    with pytest.raises(NotFound):
        uploads.get(stranger, begun.upload_id)
    with pytest.raises(NotFound):
        uploads.append(stranger, begun.upload_id, 0, [CONTENT])
    with pytest.raises(NotFound):
        uploads.abort(stranger, begun.upload_id)


@pytest.mark.parametrize("upload_id", HOSTILE)
def test_hostile_ids(uploads: Uploads, upload_id: str) -> None:
    with pytest.raises(NotFound):
        uploads.append(ME, upload_id, 0, [b"x"])


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.INFERENCE, Role.AUDITOR])
def test_who_may_upload(uploads: Uploads, role: Role) -> None:
    with pytest.raises(PermissionDenied):
        uploads.begin(principal(role), SIZE)


# ---- the collector ----------------------------------------------------------------------------


def test_a_young_installation_has_nothing_to_collect(
    uploads: Uploads, collector: Collector
) -> None:
    begun = uploads.begin(ME, SIZE)
    uploads.append(ME, begun.upload_id, 0, [b"abc"])
    uploads.keep(TENANT, [CONTENT])
    assert collector.sweep() == Collected()
    assert uploads.get(ME, begun.upload_id).offset == 3


def test_a_stale_upload_is_discarded(uploads: Uploads, collector: Collector, clock: Clock) -> None:
    begun = uploads.begin(ME, SIZE)
    uploads.append(ME, begun.upload_id, 0, [b"abc"])
    clock.ahead = EXPIRY - timedelta(minutes=1)
    assert collector.sweep() == Collected()
    clock.ahead = EXPIRY + timedelta(minutes=1)
    assert collector.sweep() == Collected(uploads=1)
    with pytest.raises(NotFound):
        uploads.get(ME, begun.upload_id)


def test_what_no_version_has_is_collected(
    uploads: Uploads, collector: Collector, clock: Clock, blobs: FileBlobStore
) -> None:
    uploads.keep(TENANT, [CONTENT])
    clock.ahead = EXPIRY + timedelta(minutes=1)
    assert collector.sweep() == Collected(contents=1)
    assert blobs.find(TENANT, DIGEST) is None


def test_what_a_version_has_stays(
    uploads: Uploads,
    collector: Collector,
    clock: Clock,
    blobs: FileBlobStore,
    database: MemoryDatabase,
) -> None:
    digests = [uploads.keep(TENANT, [content]).digest for content in (b"labels", b"pets1")]
    database.catalog.write(TENANT, lambda records: add_version(records, version()))
    clock.ahead = timedelta(days=400)
    assert collector.sweep() == Collected()
    assert sorted(blobs.digests(TENANT)) == sorted(digests)


def test_what_a_crash_left_is_collected(
    collector: Collector, clock: Clock, blobs: FileBlobStore, tmp_path: Path
) -> None:
    blobs.put(TENANT, [CONTENT], limit_bytes=SIZE)
    blobs.append(TENANT, "orphan", 0, [b"abc"], 10)
    (tmp_path / "blobs" / TENANT / "incoming" / "half").write_bytes(b"abc")
    assert collector.sweep() == Collected()
    clock.ahead = EXPIRY + timedelta(minutes=1)
    assert collector.sweep() == Collected(partials=1, contents=1, incoming=1)
    assert collector.sweep() == Collected()


def test_a_content_that_is_wanted_again_just_then_stays(
    *,
    uploads: Uploads,
    collector: Collector,
    clock: Clock,
    blobs: FileBlobStore,
    database: MemoryDatabase,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The collector has decided; before it deletes, somebody uploads the same bytes."""
    uploads.keep(TENANT, [CONTENT])
    old = (datetime.now(UTC) - 2 * EXPIRY).timestamp()
    os.utime(Layout(tmp_path / "blobs", TENANT).content(DIGEST), (old, old))
    clock.ahead = EXPIRY + timedelta(minutes=1)
    original = FileBlobStore.delete_older

    def overtaken(self: FileBlobStore, tenant: str, digest: str, than: datetime) -> bool:
        clock.ahead = timedelta()
        assert uploads.begin(ME, SIZE, DIGEST).digest == DIGEST
        return original(self, tenant, digest, datetime.now(UTC) - timedelta(hours=1))

    monkeypatch.setattr(FileBlobStore, "delete_older", overtaken)
    assert collector.sweep().contents == 0
    assert blobs.find(TENANT, DIGEST) is not None
    assert is_known(database)


def test_keep_checks_promises_and_limits(uploads: Uploads) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(PayloadTooLarge):
        uploads.keep(TENANT, endless())
    with pytest.raises(DigestMismatch):
        uploads.keep(TENANT, [b"x"], DIGEST)


def test_announcing_a_file_again_goes_on_with_it(uploads: Uploads):
    begun = uploads.begin(ME, SIZE, DIGEST)
    uploads.append(ME, begun.upload_id, 0, [CONTENT[:700]])
    again = uploads.begin(ME, SIZE, DIGEST)
    assert (again.upload_id, again.offset) == (begun.upload_id, 700)
    done = uploads.append(ME, again.upload_id, 700, [CONTENT[700:]])
    assert done.digest == DIGEST


def test_an_upload_is_shared_with_nobody_and_with_no_other_content(uploads: Uploads):
    begun = uploads.begin(ME, SIZE, DIGEST)
    colleague = principal(Role.ADMIN)
    others = [
        uploads.begin(colleague, SIZE, DIGEST),
        uploads.begin(principal(Role.OWNER, OTHER_TENANT_ID), SIZE, DIGEST),
        uploads.begin(ME, SIZE + 1, DIGEST),
        uploads.begin(ME, SIZE, digest_of_bytes(b"else")),
        uploads.begin(ME, SIZE),
        uploads.begin(ME, SIZE),
    ]
    assert len({begun.upload_id, *(one.upload_id for one in others)}) == 7


def test_a_tenant_that_cannot_be_swept_keeps_no_other_from_it(
    collector: Collector, blobs: FileBlobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs.put(OTHER_TENANT_ID, [CONTENT], limit_bytes=2**20)
    clock.ahead = timedelta(days=3)
    original = FileBlobStore.partials

    def partials(store: FileBlobStore, tenant_id: str) -> Iterator[str]:
        if tenant_id == TENANT:
            raise KeyUnavailable("gone")
        return original(store, tenant_id)

    monkeypatch.setattr(FileBlobStore, "partials", partials)
    assert collector.sweep() == Collected(contents=1)
