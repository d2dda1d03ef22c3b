"""A datasets service on real contents, with works in threads."""

from __future__ import annotations

from pathlib import Path

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.datasets.works import DeriveDataset, ReadRows
from modelry.domain.access import Principal, Role
from modelry.runtime_api.work import Work
from modelry.services.catalog.service import CatalogService
from modelry.services.datasets.service import DatasetsService
from modelry.testing.catalog_fakes import FakeFetcher, FakeStarters, FakeTaskRules
from modelry.testing.encryption import memory_encryption
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, add_tenants, principal
from modelry.testing.work import ThreadWorks

ME = principal(Role.DEVELOPER)


class DatasetKit:
    """The service, and the catalogue beside it."""

    def __init__(self, folder: Path, *works: Work) -> None:
        self.database = MemoryDatabase()
        add_tenants(self.database)
        self.catalog = CatalogService(
            store=self.database.catalog,
            blobs=FileBlobStore(folder / "blobs", memory_encryption()),
            rules=FakeTaskRules(),
            fetcher=FakeFetcher(),
            starters=FakeStarters(),
            scratch=folder / "scratch",
        )
        self.works = ThreadWorks(DeriveDataset(), ReadRows(), *works)
        self.service = DatasetsService(
            self.database.datasets, self.catalog.contents, self.works, lambda: NOW
        )

    def upload(self, content: bytes, caller: Principal = ME) -> str:
        """The digest of a file that was sent."""
        begun = self.catalog.begin_upload(caller, len(content))
        done = self.catalog.append_upload(caller, begun.upload_id, 0, [content])
        assert done.digest is not None
        return done.digest
