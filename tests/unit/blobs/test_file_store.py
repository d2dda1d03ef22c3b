"""What the file store does with files: modes, the order of writes, full disks, races."""

from __future__ import annotations

import errno
import os
import stat
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelry.adapters.blobs import durable
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.blobs.layout import Layout
from modelry.domain.errors import Conflict, DataDamaged, Overloaded
from modelry.testing.blob_store import CONTENT, DIGEST, TENANT, keep
from modelry.testing.encryption import memory_encryption


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "blobs", memory_encryption())


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """The file of the content that `keep` keeps."""
    return Layout(tmp_path / "blobs", TENANT).content(DIGEST)


def test_files_are_for_their_owner_alone(
    blobs: FileBlobStore, content: Path, tmp_path: Path
) -> None:
    keep(blobs)
    blobs.append(TENANT, "u1", 0, [b"x"], 2)
    for path in (tmp_path / "blobs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(content.stat().st_mode) == 0o400


def test_the_order_of_writes(blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(blobs, b"makes the folders")
    calls: list[str] = []

    def traced(name: str, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            calls.append("fsync folder" if is_folder else name)
            return original(*args, **kwargs)

        return call

    for name in ("write", "fsync", "fchmod"):
        monkeypatch.setattr(os, name, traced(name, getattr(os, name)))
    monkeypatch.setattr(Path, "rename", traced("rename", Path.rename))
    blobs.put(TENANT, [CONTENT], limit_bytes=2**20)
    # the first "fsync folder" makes the new folder's own name durable
    writes = ["write"] * 3  # the stream's header, its only segment, the head with the sealed key
    assert calls == [*writes, "fchmod", "fsync", "fsync folder", "rename", "fsync folder"]


def test_memory_stays_constant(blobs: FileBlobStore) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(1024 * 1024)

    blobs.put(TENANT, [b"warm"], limit_bytes=10)
    tracemalloc.start()
    blob = blobs.put(TENANT, chunks(), limit_bytes=2**30)
    blobs.append(TENANT, "u1", 0, chunks(), 2**26)
    blobs.finish(TENANT, "u1")
    for _ in blobs.read(TENANT, blob.digest):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 2**20


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_the_partial(
    blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    blobs.append(TENANT, "u1", 0, [b"abc"], 10)

    def full(descriptor: int, data: Any) -> int:
        raise OSError(code, "No space left on device", "/secret/path")

    with monkeypatch.context() as patched:
        patched.setattr(durable.os, "write", full)
        with pytest.raises(Overloaded) as told:
            blobs.append(TENANT, "u1", 3, [b"def"], 10)
        with pytest.raises(Overloaded):
            blobs.put(TENANT, [b"x"], limit_bytes=10)
    assert "/secret" not in told.value.message
    assert blobs.append(TENANT, "u1", 3, [b"def"], 10) == 6
    assert blobs.delete_incoming(TENANT, datetime.now(UTC) + timedelta(days=1)) == 0


def test_other_failures_are_not_dressed_up(
    blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int, data: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable.os, "write", broken)
    with pytest.raises(OSError, match="Input/output"):
        blobs.put(TENANT, [b"x"], limit_bytes=10)


def test_a_damaged_content_is_replaced(blobs: FileBlobStore, content: Path) -> None:
    keep(blobs)
    size = content.stat().st_size
    content.chmod(0o600)
    for damaged in (b"cut", bytes(size)):
        content.write_bytes(damaged)
        with pytest.raises(DataDamaged):
            blobs.read(TENANT, DIGEST)
        keep(blobs)
        assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT
        content.chmod(0o600)


def test_a_link_in_the_place_of_a_partial_is_not_followed(
    blobs: FileBlobStore, tmp_path: Path
) -> None:
    blobs.append(TENANT, "u0", 0, [b"x"], 10)
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    (tmp_path / "blobs" / TENANT / "uploads" / "u1").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"):
        blobs.append(TENANT, "u1", 0, [b"x"], 10)
    assert outside.read_bytes() == b""


def test_what_is_put_again_is_not_collected(blobs: FileBlobStore, content: Path) -> None:
    keep(blobs)
    long_ago = datetime.now(UTC) - timedelta(days=3)
    os.utime(content, (long_ago.timestamp(),) * 2)
    keep(blobs)
    assert not blobs.delete_older(TENANT, DIGEST, datetime.now(UTC) - timedelta(hours=1))


def test_an_appender_that_was_overtaken_does_not_touch_the_content(
    blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its open and its lock the partial became a content: the file must not grow."""
    blobs.append(TENANT, "u1", 0, [CONTENT], len(CONTENT) + 1)
    from modelry.adapters.blobs import file_store

    flock = file_store.fcntl.flock

    def overtaken(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(file_store.fcntl, "flock", flock)
        blobs.finish(TENANT, "u1")
        flock(descriptor, operation)

    monkeypatch.setattr(file_store.fcntl, "flock", overtaken)
    with pytest.raises(Conflict):
        blobs.append(TENANT, "u1", len(CONTENT), [b"!"], len(CONTENT) + 1)
    assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT


def test_many_put_the_same_content_while_a_collector_runs(blobs: FileBlobStore) -> None:
    """Whoever has put a content finds it, however often the collector passes."""
    lost: list[str] = []
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            for digest in blobs.digests(TENANT):
                blobs.delete_older(TENANT, digest, datetime.now(UTC) - timedelta(hours=1))

    def put() -> None:
        for _ in range(20):
            blob = keep(blobs)
            if blobs.find(TENANT, blob.digest) is None:
                lost.append(blob.digest)

    collector = threading.Thread(target=collect)
    collector.start()
    writers = [threading.Thread(target=put) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    collector.join()
    assert lost == []
