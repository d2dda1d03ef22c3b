# ruff: noqa: D102 - the names of the tests say what they check
"""What every `LineageStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import Conflict
from modelry.domain.lineage import Lineage
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores

LINEAGE = Lineage(
    tenant_id=TENANT,
    model_name="pets",
    number=1,
    job_id="job-1",
    recipe="image-classification",
    parameters={"epochs": 3, "augment": ["flip"]},
    seed=7,
    dataset="photos@2",
    dataset_digest="sha256:" + "a" * 64,
    weights_digest="sha256:" + "b" * 64,
    created_at=NOW,
    created_by="k1",
    base="pets@0",
    base_files={"model": {"digest": "sha256:" + "c" * 64, "name": "model.onnx"}},
    threads=2,
    metrics={"accuracy": 0.5},
    parity={"max_abs": 1e-6, "is_met": True},
    environment={"libraries": {"torch": "2"}},
)


def add_version(stores: Stores) -> None:
    """The version that `LINEAGE` is of."""
    wanted = samples.version()
    stores.catalog.write(TENANT, lambda records: samples.add_version(records, wanted))


class LineageStoreContract:
    """The suite."""

    def test_it_comes_back(self, stores: Stores) -> None:
        add_version(stores)
        assert stores.lineages.find(TENANT, "pets", 1) is None
        stores.lineages.add(LINEAGE)
        assert stores.lineages.find(TENANT, "pets", 1) == LINEAGE
        assert stores.lineages.find(TENANT, "pets", 2) is None
        assert stores.lineages.find(OTHER_TENANT_ID, "pets", 1) is None

    def test_the_first_one_stays(self, stores: Stores) -> None:
        add_version(stores)
        stores.lineages.add(LINEAGE)
        stores.lineages.add(replace(LINEAGE, job_id="job-2"))
        assert stores.lineages.find(TENANT, "pets", 1) == LINEAGE

    def test_it_needs_a_version(self, stores: Stores) -> None:
        with pytest.raises(Conflict):
            stores.lineages.add(LINEAGE)

    def test_it_goes_with_its_version(self, stores: Stores) -> None:
        add_version(stores)
        stores.lineages.add(LINEAGE)
        stores.catalog.write(TENANT, lambda records: records.models.delete_version("pets", 1))
        assert stores.lineages.find(TENANT, "pets", 1) is None
