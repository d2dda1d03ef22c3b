"""The store of explanations of datasets, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelry.adapters.sql.database import Database, open_database
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import NotFound
from modelry.domain.explanations import DatasetExplanation
from modelry.services.catalog.ports import BlobRecord, CatalogRecords
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID

REPORT, ROWS = "sha256:" + "e" * 64, "sha256:" + "f" * 64
VERSION = samples.version()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        database = open_database(request.getfixturevalue("postgres_url"))
    else:
        database = open_database(f"sqlite:///{tmp_path}/modelry.db")
        samples.add_tenants(database)

    def work(records: CatalogRecords) -> None:
        samples.add_version(records, VERSION)
        for digest in (REPORT, ROWS):
            records.blobs.add(BlobRecord(digest, 5, NOW - timedelta(days=3)))

    database.catalog.write(TENANT, work)
    yield database
    database.close()


def explanation(explanation_id: str = "x1", **changes: object) -> DatasetExplanation:
    one = DatasetExplanation(
        tenant_id=TENANT,
        explanation_id=explanation_id,
        model_name=VERSION.model_name,
        version_number=VERSION.number,
        version_digest=VERSION.digest,
        task="tabular",
        dataset="houses@2",
        dataset_digest="sha256:" + "d" * 64,
        split="test",
        rows=200,
        method="shapley",
        sentence="Over 200 rows counted most: rooms (0.3).",
        report_digest=REPORT,
        rows_digest=ROWS,
        job_id=explanation_id,
        created_at=NOW,
        created_by="k1",
    )
    return replace(one, **changes)  # type: ignore[arg-type] # names of its fields


def test_what_is_kept_is_found_newest_first_and_by_its_own_tenant_alone(
    database: Database,
) -> None:
    store = database.explanations
    first, second = explanation(), explanation("x2", created_at=NOW + timedelta(seconds=1))
    for one in (first, second, replace(first, rows=1)):  # the last is the first one again
        store.add(one)
    assert store.find(TENANT, "x1") == first
    assert store.of_version(TENANT, VERSION.model_name, VERSION.number) == [second, first]
    assert store.of_model(TENANT, VERSION.model_name, 1) == [second]
    assert store.of_version(TENANT, VERSION.model_name, 99) == []
    assert store.find(OTHER_TENANT_ID, "x1") is None
    assert not store.delete(OTHER_TENANT_ID, "x1")
    assert store.of_model(OTHER_TENANT_ID, VERSION.model_name, 9) == []
    assert store.delete(TENANT, "x1")
    assert not store.delete(TENANT, "x1")
    with pytest.raises(NotFound, match="pets@7 is gone"):
        store.add(explanation("x3", version_number=7))


def test_it_goes_with_its_version_and_its_files_are_collected_then(database: Database) -> None:
    database.explanations.add(explanation())

    def sweep(records: CatalogRecords) -> list[str]:
        return records.blobs.delete_unused(NOW - timedelta(days=1))

    assert database.catalog.write(TENANT, sweep) == []
    database.catalog.write(
        TENANT,
        lambda records: records.models.delete_version(VERSION.model_name, VERSION.number),
    )
    assert database.explanations.find(TENANT, "x1") is None
    assert {REPORT, ROWS} <= set(database.catalog.write(TENANT, sweep))
