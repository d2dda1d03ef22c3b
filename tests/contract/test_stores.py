"""The stores' suites, on SQL and on the fakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import databases

from modelry.adapters.sql.database import open_database
from modelry.testing import samples
from modelry.testing.catalog_store import CatalogStoreContract
from modelry.testing.dataset_store import DatasetStoreContract
from modelry.testing.deletion_store import DeletionStoreContract, GrantContract
from modelry.testing.deployment_store import DeploymentStoreContract
from modelry.testing.file_store import FileStoreContract
from modelry.testing.job_store import JobStoreContract
from modelry.testing.key_store import KeyStoreContract
from modelry.testing.lineage_store import LineageStoreContract
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.quota_store import QuotaStoreContract
from modelry.testing.usage_store import UsageStoreContract


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[samples.Stores]:
    if request.param == "memory":
        memory = MemoryDatabase()
        samples.add_tenants(memory)
        yield memory
        return
    if request.param == "postgresql":
        database = open_database(request.getfixturevalue("postgres_url"))
    else:
        database = databases.with_tenants(tmp_path)
    yield database
    database.close()


class TestCatalogStore(CatalogStoreContract):
    pass


class TestDatasetStore(DatasetStoreContract):
    pass


class TestGrants(GrantContract):
    pass


class TestDeletionStore(DeletionStoreContract):
    pass


class TestKeyStore(KeyStoreContract):
    pass


class TestDeploymentStore(DeploymentStoreContract):
    pass


class TestFileStore(FileStoreContract):
    pass


class TestLineageStore(LineageStoreContract):
    pass


class TestJobStore(JobStoreContract):
    pass


class TestUsageStore(UsageStoreContract):
    pass


class TestQuotaStore(QuotaStoreContract):
    pass
