"""The blob stores' suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.services.catalog.ports import BlobStore
from modelry.testing.blob_store import BlobStoreContract
from modelry.testing.encryption import memory_encryption


class TestFileBlobStore(BlobStoreContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> BlobStore:
        return FileBlobStore(tmp_path / "blobs", memory_encryption())
