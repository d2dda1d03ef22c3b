# ruff: noqa: D102 - the names of the tests say what they check
"""What every `DeploymentStore` must do. Subclass it and give the fixture `stores`: an empty
database with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import Conflict
from modelry.services.catalog.ports import CatalogRecords
from modelry.testing import samples
from modelry.testing.samples import OTHER_TENANT_ID, Stores


def _add_versions(records: CatalogRecords) -> None:
    for number in (1, 2):
        samples.add_version(records, samples.version(number=number))
    samples.add_version(records, samples.version("dogs"))


class DeploymentStoreContract:
    """The suite."""

    @pytest.fixture(autouse=True)
    def _versions(self, stores: Stores) -> None:
        stores.catalog.write(TENANT, _add_versions)

    def test_a_deployment_comes_back_as_it_was(self, stores: Stores) -> None:
        kept = samples.deployment(numbers=(2, 1))
        stores.deployments.put(kept)
        assert stores.deployments.get(TENANT, "pets") == kept
        assert stores.deployments.get(TENANT, "cats") is None

    def test_it_is_replaced_as_a_whole(self, stores: Stores) -> None:
        stores.deployments.put(samples.deployment(numbers=(1, 2)))
        new = replace(samples.deployment(numbers=(2,)), engine_options={})
        stores.deployments.put(new)
        assert stores.deployments.get(TENANT, "pets") == new

    def test_all_are_listed_by_name(self, stores: Stores) -> None:
        for name in ("b", "a"):
            stores.deployments.put(samples.deployment(name))
        assert [one.name for one in stores.deployments.list(TENANT)] == ["a", "b"]
        assert [one.name for one in stores.deployments.list_all()] == ["a", "b"]

    def test_it_goes_once(self, stores: Stores) -> None:
        stores.deployments.put(samples.deployment(numbers=(1, 2)))
        assert stores.deployments.delete(TENANT, "pets")
        assert not stores.deployments.delete(TENANT, "pets")
        assert stores.deployments.list_all() == []

    def test_a_version_that_is_not_there_cannot_be_served(self, stores: Stores) -> None:
        stores.deployments.put(samples.deployment())
        with pytest.raises(Conflict, match="Version 7"):
            stores.deployments.put(samples.deployment(numbers=(1, 7)))
        found = stores.deployments.get(TENANT, "pets")
        assert found == samples.deployment()

    def test_tenants_do_not_see_each_others(self, stores: Stores) -> None:
        stores.deployments.put(samples.deployment())
        assert stores.deployments.get(OTHER_TENANT_ID, "pets") is None
        assert stores.deployments.list(OTHER_TENANT_ID) == []
        assert not stores.deployments.delete(OTHER_TENANT_ID, "pets")
        assert stores.deployments.get(TENANT, "pets") is not None
