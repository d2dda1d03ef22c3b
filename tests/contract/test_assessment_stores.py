"""The stores of what jobs found of versions: evaluations and explanations, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import databases

from modelry.adapters.sql.database import Database, open_database
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import NotFound
from modelry.domain.evaluations import Evaluation, Measured
from modelry.domain.explanations import DatasetExplanation
from modelry.services.catalog.ports import BlobRecord, CatalogRecords
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID

REPORT, ROWS = "sha256:" + "e" * 64, "sha256:" + "f" * 64
VERSION = samples.version()
COMMON: dict[str, Any] = {
    "tenant_id": TENANT,
    "model_name": VERSION.model_name,
    "version_number": VERSION.number,
    "version_digest": VERSION.digest,
    "dataset": "houses@2",
    "dataset_digest": "sha256:" + "d" * 64,
    "split": "test",
    "rows": 10_000,
    "report_digest": REPORT,
    "job_id": "x1",
    "created_at": NOW,
    "created_by": "k1",
}
EVALUATION = Evaluation(
    **COMMON,
    evaluation_id="x1",
    metrics={"accuracy": Measured(0.91, 0.9, 0.92), "ece": Measured(0.02)},
    speed={"p50_ms": 1.5},
)
EXPLANATION = DatasetExplanation(
    **COMMON,
    explanation_id="x1",
    task="tabular",
    method="shapley",
    sentence="Over 200 rows counted most: rooms (0.3).",
    rows_digest=ROWS,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        database = open_database(request.getfixturevalue("postgres_url"))
    else:
        database = databases.with_tenants(tmp_path)

    def work(records: CatalogRecords) -> None:
        samples.add_version(records, VERSION)
        for digest in (REPORT, ROWS):
            records.blobs.add(BlobRecord(digest, 5, NOW - timedelta(days=3)))

    database.catalog.write(TENANT, work)
    yield database
    database.close()


def kinds(database: Database) -> list[tuple[Any, Any, str]]:
    """Each store with one that it keeps, and what their ids are called."""
    return [
        (database.evaluations, EVALUATION, "evaluation_id"),
        (database.explanations, EXPLANATION, "explanation_id"),
    ]


def test_what_is_kept_is_found_newest_first_and_by_its_own_tenant_alone(
    database: Database,
) -> None:
    for store, first, key in kinds(database):
        second = replace(first, **{key: "x2"}, created_at=NOW + timedelta(seconds=1))
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
        assert store.find(TENANT, "x1") is None
        with pytest.raises(NotFound, match="pets@7 is gone"):
            store.add(replace(first, **{key: "x3"}, version_number=7))


def test_it_goes_with_its_version_and_its_files_are_collected_then(database: Database) -> None:
    for store, one, _ in kinds(database):
        store.add(one)

    def sweep(records: CatalogRecords) -> list[str]:
        return records.blobs.delete_unused(NOW - timedelta(days=1))

    assert database.catalog.write(TENANT, sweep) == []
    database.catalog.write(
        TENANT,
        lambda records: records.models.delete_version(VERSION.model_name, VERSION.number),
    )
    assert [store.find(TENANT, "x1") for store, _, _ in kinds(database)] == [None, None]
    assert {REPORT, ROWS} <= set(database.catalog.write(TENANT, sweep))
