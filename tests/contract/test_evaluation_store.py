"""The store of evaluations, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelry.adapters.sql.database import Database, open_database
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import NotFound
from modelry.domain.evaluations import Evaluation, Measured
from modelry.services.catalog.ports import BlobRecord, CatalogRecords
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID

REPORT = "sha256:" + "e" * 64
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
        records.blobs.add(BlobRecord(REPORT, 5, NOW - timedelta(days=3)))

    database.catalog.write(TENANT, work)
    yield database
    database.close()


def evaluation(evaluation_id: str = "e1", **changes: object) -> Evaluation:
    one = Evaluation(
        tenant_id=TENANT,
        evaluation_id=evaluation_id,
        model_name=VERSION.model_name,
        version_number=VERSION.number,
        version_digest=VERSION.digest,
        dataset="digits@2",
        dataset_digest="sha256:" + "d" * 64,
        split="test",
        rows=10_000,
        metrics={"accuracy": Measured(0.91, 0.9, 0.92), "ece": Measured(0.02)},
        speed={"p50_ms": 1.5},
        report_digest=REPORT,
        job_id=evaluation_id,
        created_at=NOW,
        created_by="k1",
    )
    return replace(one, **changes)  # type: ignore[arg-type] # names of its fields


def test_what_is_kept_is_found_newest_first(database: Database) -> None:
    store = database.evaluations
    first, second = evaluation(), evaluation("e2", created_at=NOW + timedelta(seconds=1))
    for one in (first, second, replace(first, rows=1)):  # the last is the first one again
        store.add(one)
    assert store.find(TENANT, "e1") == first
    assert store.of_version(TENANT, VERSION.model_name, VERSION.number) == [second, first]
    assert store.of_model(TENANT, VERSION.model_name, 1) == [second]
    assert store.of_version(TENANT, VERSION.model_name, 99) == []
    assert store.delete(TENANT, "e1")
    assert not store.delete(TENANT, "e1")
    assert store.find(TENANT, "e1") is None


def test_another_tenant_sees_none_and_deletes_none(database: Database) -> None:
    database.evaluations.add(evaluation())
    assert database.evaluations.find(OTHER_TENANT_ID, "e1") is None
    assert not database.evaluations.delete(OTHER_TENANT_ID, "e1")
    assert database.evaluations.of_model(OTHER_TENANT_ID, VERSION.model_name, 9) == []
    assert database.evaluations.find(TENANT, "e1") is not None


def test_the_evaluation_of_a_version_that_is_gone_is_refused(database: Database) -> None:
    with pytest.raises(NotFound, match="pets@7 is gone"):
        database.evaluations.add(evaluation(version_number=7))


def test_it_goes_with_its_version_and_its_report_is_collected_then(database: Database) -> None:
    database.evaluations.add(evaluation())

    def sweep(records: CatalogRecords) -> list[str]:
        return records.blobs.delete_unused(NOW - timedelta(days=1))

    assert database.catalog.write(TENANT, sweep) == []
    database.catalog.write(
        TENANT,
        lambda records: records.models.delete_version(VERSION.model_name, VERSION.number),
    )
    assert database.evaluations.find(TENANT, "e1") is None
    assert REPORT in database.catalog.write(TENANT, sweep)
