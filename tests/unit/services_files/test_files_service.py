"""Files under ids: what is refused, and what keeps one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from modelry.domain.access import Permission
from modelry.domain.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from modelry.domain.files import FilePurpose
from modelry.services.catalog.ports import BlobRecord
from modelry.services.files.service import FilesService, NewFile
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, add_tenants, principal

ME = principal()


@dataclass
class Kept:
    digest: str
    size_bytes: int


class Contents:
    """Keeps bytes by themselves."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.kept: dict[str, bytes] = {}

    def keep(self, tenant_id: str, chunks: object, digest: str | None = None) -> Kept:
        content = b"".join(chunks)  # type: ignore[arg-type] # of bytes
        name = f"sha256:{content.hex():0>64}"
        self.kept[name] = content
        blob = BlobRecord(name, len(content), NOW)
        self._database.catalog.write(tenant_id, lambda records: records.blobs.add(blob))
        return Kept(name, len(content))

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        if size_bytes > 1000:
            raise Conflict("no room")

    def read(
        self, tenant_id: str, digest: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        return iter([self.kept[digest]])


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(clock: Clock) -> FilesService:
    database = MemoryDatabase()
    add_tenants(database)
    contents = Contents(database)
    return FilesService(database.files, contents, contents, clock)


def sent(files: FilesService, content: bytes = b"ab", **wanted: object) -> str:
    new = replace(NewFile("rows.jsonl"), **wanted)  # type: ignore[arg-type] # its fields
    return files.add(ME, files.receive(ME, [content]), new).file_id


def test_a_file_comes_back(files: FilesService) -> None:
    file_id = sent(files)
    found = files.get(ME, file_id)
    assert (found.name, found.purpose, found.size_bytes) == ("rows.jsonl", "fine-tune", 2)
    assert found.created_by == ME.key_id
    assert b"".join(files.open_content(ME, file_id)[1]) == b"ab"
    assert files.list(ME).files == [found]
    assert files.list(ME, purpose=FilePurpose.FINE_TUNE_RESULTS).files == []
    stranger = principal(tenant_id=OTHER_TENANT_ID)
    with pytest.raises(NotFound):
        files.get(stranger, file_id)


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"name": ""}, "file"),
        ({"name": "a" * 256}, "file"),
        ({"name": "a\nb"}, "file"),
        ({"expires_after_s": 3599}, "expires_after.seconds"),
        ({"expires_after_s": 2_592_001}, "expires_after.seconds"),
    ],
)
def test_what_is_refused(files: FilesService, wanted: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        sent(files, **wanted)
    assert caught.value.param == param


def test_an_empty_file_is_refused(files: FilesService) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        sent(files, b"")


def test_a_file_ends(files: FilesService, clock: Clock) -> None:
    file_id = sent(files, expires_after_s=3600)
    clock.now += timedelta(seconds=3599)
    assert files.get(ME, file_id).expires_at == NOW + timedelta(seconds=3600)
    assert files.sweep() == 0
    clock.now += timedelta(seconds=1)
    for look in (files.get, files.open_content, files.delete):
        with pytest.raises(NotFound):
            look(ME, file_id)
    assert files.sweep() == 1


def test_what_needs_a_file_keeps_it(files: FilesService) -> None:
    file_id = sent(files)
    needed = ["the fine-tuning job ftjob-1"]
    files.used_by(lambda tenant_id, wanted: needed if wanted == file_id else [])
    with pytest.raises(Conflict, match="needed by the fine-tuning job ftjob-1"):
        files.delete(ME, file_id)
    needed.clear()
    files.delete(ME, file_id)
    with pytest.raises(NotFound):
        files.get(ME, file_id)


def test_what_the_server_makes_is_made_once(files: FilesService) -> None:
    new = NewFile("r.csv", FilePurpose.FINE_TUNE_RESULTS)
    first = files.keep_made(ME, "file-results-1", new, [b"a"])
    assert files.keep_made(ME, "file-results-1", new, [b"b"]) == first


def test_rights_are_needed(files: FilesService) -> None:
    file_id = sent(files)
    content = files.receive(ME, [b"a"])
    acts = {
        Permission.DATASETS_WRITE: [
            lambda who: files.receive(who, [b"a"]),
            lambda who: files.add(who, content, NewFile("a")),
            lambda who: files.check_room(who, 1),
            lambda who: files.delete(who, file_id),
        ],
        Permission.DATASETS_READ: [
            lambda who: files.get(who, file_id),
            files.list,
        ],
        Permission.ROWS_READ: [lambda who: files.open_content(who, file_id)],
    }
    for permission, asked in acts.items():
        caller = replace(ME, permissions=ME.permissions - {permission})
        for act in asked:
            with pytest.raises(PermissionDenied):
                act(caller)
