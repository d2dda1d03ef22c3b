# ruff: noqa: D102 - the names of the tests say what they check
"""What every `FileStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import NotFound
from modelry.domain.files import FilePurpose, TenantFile
from modelry.services.catalog.ports import BlobRecord
from modelry.services.files.ports import FileFilter
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores

DIGEST = "sha256:" + "f" * 64
FILE = TenantFile(
    tenant_id=TENANT,
    file_id="file-1",
    name="rows.jsonl",
    purpose=FilePurpose.FINE_TUNE,
    digest=DIGEST,
    size_bytes=5,
    created_at=NOW,
    created_by="k1",
)


def _add(stores: Stores, *files: TenantFile) -> None:
    for file in files:
        stores.catalog.write(
            file.tenant_id,
            lambda records: records.blobs.add(BlobRecord(DIGEST, 5, NOW - timedelta(days=3))),
        )
        stores.files.add(file)


def _later(file_id: str, seconds: int, **changes: object) -> TenantFile:
    later = NOW + timedelta(seconds=seconds)
    return replace(FILE, file_id=file_id, created_at=later, **changes)  # type: ignore[arg-type] # names of its fields


class FileStoreContract:
    """The suite."""

    def test_a_file_comes_back_and_the_first_of_an_id_stays(self, stores: Stores) -> None:
        _add(stores, FILE)
        assert stores.files.find(TENANT, "file-1", NOW) == FILE
        assert stores.files.add(replace(FILE, name="other.jsonl")) == FILE
        assert stores.files.find(TENANT, "file-2", NOW) is None

    def test_a_file_needs_its_content(self, stores: Stores) -> None:
        with pytest.raises(NotFound, match="not kept"):
            stores.files.add(FILE)

    def test_pages_in_both_orders(self, stores: Stores) -> None:
        first, second, third = FILE, _later("file-b", 1), _later("file-a", 1)
        results = _later("file-r", 2, purpose=FilePurpose.FINE_TUNE_RESULTS)
        _add(stores, first, second, third, results)

        def listed(limit: int = 9, **wanted: object) -> list[str]:
            found = stores.files.list(TENANT, FileFilter(**wanted), NOW, limit)  # type: ignore[arg-type] # its fields
            return [one.file_id for one in found]

        assert listed() == ["file-r", "file-b", "file-a", "file-1"]
        assert listed(2, after=results) == ["file-b", "file-a"]
        assert listed(after=second) == ["file-a", "file-1"]
        assert listed(newest_first=False) == ["file-1", "file-a", "file-b", "file-r"]
        assert listed(newest_first=False, after=third) == ["file-b", "file-r"]
        assert listed(purpose=FilePurpose.FINE_TUNE) == ["file-b", "file-a", "file-1"]

    def test_what_has_expired_is_not_there_and_is_deleted(self, stores: Stores) -> None:
        end = NOW + timedelta(hours=1)
        _add(stores, _later("file-2", 1, expires_at=end), FILE)
        _add(stores, replace(FILE, tenant_id=OTHER_TENANT_ID, expires_at=end))
        just_before = end - timedelta(seconds=1)
        assert stores.files.find(TENANT, "file-2", just_before) is not None
        assert stores.files.find(TENANT, "file-2", end) is None
        assert [one.file_id for one in stores.files.list(TENANT, FileFilter(), end, 9)] == [
            "file-1"
        ]
        assert stores.files.delete_expired(just_before) == 0
        assert stores.files.delete_expired(end) == 2
        assert stores.files.find(TENANT, "file-2", just_before) is None
        assert stores.files.find(TENANT, "file-1", end) == FILE

    def test_another_tenant_sees_none_and_deletes_none(self, stores: Stores) -> None:
        _add(stores, FILE)
        assert stores.files.find(OTHER_TENANT_ID, "file-1", NOW) is None
        assert stores.files.list(OTHER_TENANT_ID, FileFilter(), NOW, 9) == []
        assert not stores.files.delete(OTHER_TENANT_ID, "file-1")
        assert stores.files.delete(TENANT, "file-1")
        assert not stores.files.delete(TENANT, "file-1")

    def test_its_content_is_collected_when_it_is_gone(self, stores: Stores) -> None:
        _add(stores, FILE)

        def collected() -> list[str]:
            before = NOW - timedelta(days=1)
            return stores.catalog.write(TENANT, lambda records: records.blobs.delete_unused(before))

        assert collected() == []
        stores.files.delete(TENANT, "file-1")
        assert collected() == [DIGEST]
