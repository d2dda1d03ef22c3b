"""What lies on the disk: never in the clear, and nothing of it can be changed unnoticed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelry.adapters.blobs import memory_files
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.blobs.layout import Layout
from modelry.adapters.blobs.memory_files import MemoryFiles
from modelry.adapters.blobs.migration import encrypt_plain_files
from modelry.adapters.blobs.partial_file import RECORD_BYTES
from modelry.domain.errors import DataDamaged, KeyUnavailable, NotFound, NotSupported, Overloaded
from modelry.manifest.digests import digest_of_bytes
from modelry.services.encryption.service import EncryptionService
from modelry.testing.blob_store import CONTENT, DIGEST, TENANT, keep
from modelry.testing.encryption import memory_encryption
from modelry.testing.samples import OTHER_TENANT_ID

SECRET = b"a secret that must not lie on the disk. "
LONG = SECRET * (2 * RECORD_BYTES // len(SECRET))


@pytest.fixture
def encryption() -> EncryptionService:
    return memory_encryption()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(root: Path, encryption: EncryptionService) -> FileBlobStore:
    return FileBlobStore(root, encryption)


def content_file(root: Path, digest: str = DIGEST, tenant_id: str = TENANT) -> Path:
    return Layout(root, tenant_id).content(digest)


def everything_below(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def rewrite(path: Path, raw: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(raw)


def all_refuse(blobs: FileBlobStore, digest: str = DIGEST, tenant_id: str = TENANT) -> None:
    with pytest.raises(DataDamaged):
        b"".join(blobs.read(tenant_id, digest))
    with pytest.raises(DataDamaged):
        blobs.open_sealed(tenant_id, digest)


def test_nothing_lies_in_the_clear(blobs: FileBlobStore, root: Path) -> None:
    def cut_off() -> Iterator[bytes]:
        yield LONG[:RECORD_BYTES]
        assert SECRET[:20] not in everything_below(root), "while it comes"
        yield LONG[RECORD_BYTES : RECORD_BYTES + 100]
        raise ConnectionResetError

    blobs.put(TENANT, [LONG], limit_bytes=2**30)
    blobs.append(TENANT, "done", 0, [LONG], len(LONG))
    blobs.finish(TENANT, "done")
    with pytest.raises(ConnectionResetError):
        blobs.append(TENANT, "u1", 0, cut_off(), len(LONG))
    partial = blobs.partial(TENANT, "u1")
    assert partial is not None
    assert partial.size_bytes == RECORD_BYTES + 100
    assert SECRET[:20] not in everything_below(root)


def test_every_byte_of_a_content_counts(blobs: FileBlobStore, root: Path) -> None:
    blob = blobs.put(TENANT, [b"short"], limit_bytes=9)
    path = content_file(root, blob.digest)
    raw = path.read_bytes()
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        rewrite(path, bytes(changed))
        with pytest.raises(DataDamaged):
            b"".join(blobs.read(TENANT, blob.digest))
    for length in range(0, len(raw), 3):
        rewrite(path, raw[:length])
        with pytest.raises(DataDamaged):
            b"".join(blobs.read(TENANT, blob.digest))
    rewrite(path, raw + b"\0")
    all_refuse(blobs, blob.digest)
    rewrite(path, raw)
    assert b"".join(blobs.read(TENANT, blob.digest)) == b"short"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_change_of_a_long_content_is_refused(
    blobs: FileBlobStore, root: Path, data: st.DataObject
) -> None:
    blob = blobs.put(TENANT, [LONG], limit_bytes=2**30)
    path = content_file(root, blob.digest)
    raw = path.read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "drop", "swap"]))
    changed = bytearray(raw)
    match change:
        case "flip":
            changed[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            del changed[place:]
        case "drop":
            del changed[place]
        case "swap":
            other = (place + 1 + data.draw(st.integers(0, len(raw) - 2))) % len(raw)
            changed[place], changed[other] = changed[other], changed[place]
            changed[place] ^= changed == raw
    rewrite(path, bytes(changed))
    all_refuse(blobs, blob.digest)


def test_a_content_in_the_place_of_another_is_refused(blobs: FileBlobStore, root: Path) -> None:
    keep(blobs)
    other = keep(blobs, CONTENT[::-1])
    ours, theirs = content_file(root), content_file(root, other.digest)
    raw, swapped = ours.read_bytes(), theirs.read_bytes()
    rewrite(ours, swapped)
    rewrite(theirs, raw)
    all_refuse(blobs)
    all_refuse(blobs, other.digest)


def test_a_content_of_another_tenant_is_refused(blobs: FileBlobStore, root: Path) -> None:
    keep(blobs)
    keep(blobs, tenant_id=OTHER_TENANT_ID)
    theirs = content_file(root, tenant_id=OTHER_TENANT_ID)
    assert theirs.read_bytes() != content_file(root).read_bytes()
    rewrite(content_file(root), theirs.read_bytes())
    all_refuse(blobs)
    assert b"".join(blobs.read(OTHER_TENANT_ID, DIGEST)) == CONTENT


def test_contents_of_a_tenant_whose_keys_were_destroyed_are_gone(
    blobs: FileBlobStore, encryption: EncryptionService
) -> None:
    keep(blobs)
    keep(blobs, tenant_id=OTHER_TENANT_ID)
    blobs.append(TENANT, "u1", 0, [b"x"], 2)
    encryption.destroy(TENANT)
    for use in (
        lambda: blobs.read(TENANT, DIGEST),
        lambda: blobs.open_sealed(TENANT, DIGEST),
        lambda: blobs.append(TENANT, "u1", 1, [b"x"], 2),
        lambda: keep(blobs, b"new"),
    ):
        with pytest.raises(KeyUnavailable, match="destroyed"):
            use()
    assert b"".join(blobs.read(OTHER_TENANT_ID, DIGEST)) == CONTENT


# ---- uploads ------------------------------------------------------------------------------------


def test_an_upload_goes_on_wherever_a_crash_cut_it(blobs: FileBlobStore, root: Path) -> None:
    """Every length that the file can have been cut to; all but the last record are whole."""
    for offset, piece in ((0, b"first "), (6, b"second "), (13, b"third")):
        blobs.append(TENANT, "u1", offset, [piece], 18)
    path = Layout(root, TENANT).partial("u1")
    raw = path.read_bytes()
    wholes = set()
    for length in [*range(0, len(raw), 7), len(raw)]:
        path.write_bytes(raw[:length])
        partial = blobs.partial(TENANT, "u1")
        assert partial is not None
        held = partial.size_bytes
        wholes.add(held)
        assert blobs.append(TENANT, "u1", held, [b"first second third"[held:]], 18) == 18
        assert blobs.finish(TENANT, "u1").digest == digest_of_bytes(b"first second third")
    assert wholes == {0, 6, 13, 18}


def test_no_nonce_comes_twice_however_often_an_upload_is_cut(
    blobs: FileBlobStore, root: Path
) -> None:
    blobs.append(TENANT, "u1", 0, [b"first"], 10)
    path = Layout(root, TENANT).partial("u1")
    before = path.stat().st_size
    seen = set()
    for _ in range(5):
        blobs.append(TENANT, "u1", 5, [b"other"], 10)
        seen.add(path.read_bytes()[before + 12 : before + 36])
        os.truncate(path, path.stat().st_size - 1)
    assert len(seen) == 5


@pytest.mark.parametrize("place", [3, 40, 120, 150, -200_000, -3])
def test_a_changed_upload_is_refused_and_begins_again(
    blobs: FileBlobStore, root: Path, place: int
) -> None:
    blobs.append(TENANT, "u1", 0, [LONG], len(LONG))
    path = Layout(root, TENANT).partial("u1")
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataDamaged):
        blobs.finish(TENANT, "u1", digest_of_bytes(LONG))
    assert blobs.partial(TENANT, "u1") is None
    blobs.append(TENANT, "u1", 0, [LONG], len(LONG))
    assert blobs.finish(TENANT, "u1").digest == digest_of_bytes(LONG)


def test_an_upload_in_the_place_of_another_begins_again(blobs: FileBlobStore, root: Path) -> None:
    layout = Layout(root, TENANT)
    blobs.append(TENANT, "u1", 0, [b"abc"], 9)
    blobs.append(TENANT, "u2", 0, [b"abcdef"], 9)
    shutil.copy(layout.partial("u2"), layout.partial("u1"))
    partial = blobs.partial(TENANT, "u1")
    assert partial is not None
    assert partial.size_bytes == 0
    assert blobs.append(TENANT, "u1", 0, [b"xyz"], 9) == 3


# ---- memory -------------------------------------------------------------------------------------


def test_a_file_in_memory_is_filled_once_and_let_go_with_the_last() -> None:
    files, fills = MemoryFiles(), []

    def fill(descriptor: int) -> None:
        fills.append(descriptor)
        os.write(descriptor, b"abc")

    one, other = files.open("a", 3, fill), files.open("a", 3, fill)
    assert len(fills) == 1
    one.close()
    one.close()
    assert other.path.read_bytes() == b"abc"
    other.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fills[0])
    files.open("a", 3, fill).close()
    assert len(fills) == 2


def test_a_file_that_cannot_be_filled_leaves_nothing_open() -> None:
    files, fills = MemoryFiles(), []

    def broken(descriptor: int) -> None:
        fills.append(descriptor)
        raise DataDamaged("changed")

    for _ in range(2):
        with pytest.raises(DataDamaged):
            files.open("a", 3, broken)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fills[-1])


def test_no_memory_is_told_before_it_is_taken() -> None:
    with pytest.raises(Overloaded, match="memory"):
        MemoryFiles().open("a", 2**60, lambda _: None)


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_files, "_CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**28}\n")
    with pytest.raises(Overloaded, match=r"768 MiB of memory left"):
        MemoryFiles().open("a", 2**30, lambda _: None)
    (tmp_path / "memory.max").write_text("max\n")
    MemoryFiles().open("a", 2**10, lambda _: None).close()


def test_a_system_without_memory_files_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(NotSupported, match="Linux"):
        FileBlobStore(root, memory_encryption())


# ---- from before encryption ---------------------------------------------------------------------


@pytest.fixture
def plain(root: Path) -> Layout:
    """What an installation from before encryption kept of a tenant."""
    layout = Layout(root, TENANT)
    folder = layout.plain_contents / DIGEST[7:9]
    folder.mkdir(parents=True)
    (folder / DIGEST[7:]).write_bytes(CONTENT)
    (folder / DIGEST[7:]).chmod(0o400)
    layout.plain_partials.mkdir()
    (layout.plain_partials / "u1").write_bytes(LONG[:RECORD_BYTES])
    (root / TENANT / "incoming").mkdir()
    (root / TENANT / "incoming" / "half").write_bytes(SECRET)
    return layout


def test_what_lay_in_the_clear_is_encrypted(
    plain: Layout, root: Path, encryption: EncryptionService
) -> None:
    blobs = FileBlobStore(root, encryption)
    assert encrypt_plain_files(root, blobs) == 2
    assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT
    assert blobs.append(TENANT, "u1", RECORD_BYTES, [LONG[RECORD_BYTES:]], 2**30) == len(LONG)
    raw = everything_below(root)
    assert SECRET[:20] not in raw
    assert CONTENT[:200] not in raw
    assert not plain.plain_contents.exists()
    assert not plain.plain_partials.exists()
    assert encrypt_plain_files(root, blobs) == 0


def test_encrypting_goes_on_where_it_was_cut(
    plain: Layout, root: Path, encryption: EncryptionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = FileBlobStore(root, encryption)

    def killed(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            encrypt_plain_files(root, blobs)
    blobs.append(TENANT, "u1", 0, [LONG[:1000]], 2**30)  # as far as that had come
    assert encrypt_plain_files(root, blobs) == 2
    assert b"".join(blobs.read(TENANT, DIGEST)) == CONTENT
    partial = blobs.partial(TENANT, "u1")
    assert partial is not None
    assert partial.size_bytes == RECORD_BYTES


def test_what_was_damaged_before_is_told_and_gone(
    plain: Layout, root: Path, encryption: EncryptionService, caplog: pytest.LogCaptureFixture
) -> None:
    path = plain.plain_contents / DIGEST[7:9] / DIGEST[7:]
    rewrite(path, CONTENT + SECRET)
    blobs = FileBlobStore(root, encryption)
    encrypt_plain_files(root, blobs)
    assert "was damaged" in caplog.text
    with pytest.raises(NotFound):
        blobs.read(TENANT, DIGEST)
    assert SECRET[:20] not in everything_below(root)


def test_files_of_nobody_stay(plain: Layout, root: Path) -> None:
    blobs = FileBlobStore(root, memory_encryption(tenants=[OTHER_TENANT_ID]))
    assert encrypt_plain_files(root, blobs) == 0
    assert plain.plain_contents.exists()
