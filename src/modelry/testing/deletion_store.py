# ruff: noqa: D102 - the names of the tests say what they check
"""What every `DeletionStore` must do, and what tenants share with each other in a `KeyStore`.

Subclass the suites and give the fixture `stores`: an empty database with the default and the other
tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.access import TenantState
from modelry.domain.errors import Conflict, NotFound
from modelry.domain.sharing import DeploymentGrant
from modelry.domain.tenants import DeletionStage, TenantDeletion
from modelry.testing import samples
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores

DELETION = TenantDeletion(TENANT, "d1", NOW, "owner", DeletionStage.STOPPING, NOW)
GRANT = DeploymentGrant(TENANT, "g1", "pets", OTHER_TENANT_ID, NOW, "owner", note="a pilot")


def deploy(stores: Stores, name: str = "pets") -> None:
    """A deployment of the default tenant."""
    version = samples.version(name)
    stores.catalog.write(TENANT, lambda records: samples.add_version(records, version))
    stores.deployments.put(samples.deployment(name, name))


class GrantContract:
    """The suite of what is shared."""

    def test_a_grant_comes_back_as_it_was(self, stores: Stores) -> None:
        deploy(stores)
        assert stores.keys.read(TENANT, lambda records: records.grants.has_deployment("pets"))
        assert not stores.keys.read(TENANT, lambda records: records.grants.has_deployment("cats"))
        stores.keys.write(TENANT, lambda records: records.grants.put(GRANT))
        assert stores.keys.read(TENANT, lambda records: records.grants.find("g1")) == GRANT
        ended = replace(GRANT, expires_at=NOW, revoked_at=NOW)
        stores.keys.write(TENANT, lambda records: records.grants.put(ended))
        assert stores.keys.read(TENANT, lambda records: records.grants.all()) == [ended]
        assert stores.keys.grants_to(OTHER_TENANT_ID) == [ended]
        assert stores.keys.all_grants() == []

    def test_both_sides_are_asked_apart(self, stores: Stores) -> None:
        deploy(stores)
        stores.keys.write(TENANT, lambda records: records.grants.put(GRANT))
        assert stores.keys.read(OTHER_TENANT_ID, lambda records: records.grants.all()) == []
        assert stores.keys.read(OTHER_TENANT_ID, lambda records: records.grants.find("g1")) is None
        assert stores.keys.grants_to(OTHER_TENANT_ID) == stores.keys.all_grants() == [GRANT]
        assert stores.keys.grants_to(TENANT) == []

    def test_a_grant_needs_its_deployment_and_goes_with_it(self, stores: Stores) -> None:
        with pytest.raises(Conflict):
            stores.keys.write(TENANT, lambda records: records.grants.put(GRANT))
        deploy(stores)
        stores.keys.write(TENANT, lambda records: records.grants.put(GRANT))
        stores.deployments.put(replace(samples.deployment(), updated_at=NOW + timedelta(1)))
        assert stores.keys.all_grants() == [GRANT], "a changed deployment is the same one"
        assert stores.deployments.delete(TENANT, "pets")
        assert stores.keys.all_grants() == []

    def test_only_keys_that_are_there_were_used(self, stores: Stores) -> None:
        stores.keys.write(TENANT, lambda records: records.put(samples.api_key()))
        stores.keys.write(TENANT, lambda records: records.note_used(["k1", "k2"], NOW))
        assert [one.last_used_at for one in stores.keys.all_keys()] == [NOW]


class DeletionStoreContract:
    """The suite of deleting."""

    def test_a_deletion_marks_its_tenant(self, stores: Stores) -> None:
        assert stores.deletions.find(TENANT) is None
        assert stores.deletions.begin(DELETION) == DELETION
        assert stores.deletions.begin(replace(DELETION, deletion_id="d2")) == DELETION
        assert stores.deletions.find(TENANT) == DELETION
        states = {one.tenant_id: one.state for one in stores.keys.all_tenants()}
        assert states == {TENANT: TenantState.DELETING, OTHER_TENANT_ID: TenantState.ACTIVE}
        assert stores.keys.read(TENANT, lambda records: records.is_retired())
        assert not stores.keys.read(OTHER_TENANT_ID, lambda records: records.is_retired())
        with pytest.raises(NotFound):
            stores.deletions.begin(replace(DELETION, tenant_id="nobody"))

    def test_what_is_done_is_not_pending(self, stores: Stores) -> None:
        later = replace(DELETION, tenant_id=OTHER_TENANT_ID, requested_at=NOW + timedelta(1))
        for one in (later, DELETION):
            stores.deletions.begin(one)
        assert stores.deletions.pending() == [DELETION, later]
        then = NOW + timedelta(1)
        known = {"files": 2, "keys": ["f"]}
        moved = replace(DELETION, stage=DeletionStage.ROWS, stage_at=then, destroyed=known)
        assert stores.deletions.move(DELETION, DeletionStage.ROWS, then, known) == moved
        assert stores.deletions.move(DELETION, DeletionStage.KEYS, then, {}) is None, "it moved on"
        assert stores.deletions.find(TENANT) == moved
        done = replace(moved, stage=DeletionStage.DONE, destroyed={**known, "more": 1})
        assert stores.deletions.move(moved, DeletionStage.DONE, then, {"more": 1}) == done
        assert stores.deletions.pending() == [later]
        assert stores.deletions.find(TENANT) == done

    def test_all_rows_of_the_tenant_go_and_no_others(self, stores: Stores) -> None:
        for tenant_id in (TENANT, OTHER_TENANT_ID):
            version = samples.version(tenant_id=tenant_id)
            stores.catalog.write(
                tenant_id,
                lambda records, version=version: samples.add_version(records, version),  # type: ignore[misc] # mypy cannot infer lambdas with defaults
            )
            stores.deployments.put(replace(samples.deployment(), tenant_id=tenant_id))
            key, member = samples.api_key(tenant_id=tenant_id), samples.member(tenant_id=tenant_id)
            stores.keys.write(tenant_id, lambda records, key=key: records.put(key))  # type: ignore[misc] # as above
            stores.keys.write(
                tenant_id,
                lambda records, member=member: records.members.put(member),  # type: ignore[misc] # as above
            )
        theirs = replace(GRANT, tenant_id=OTHER_TENANT_ID, grantee_id=TENANT)
        kept = replace(theirs, grant_id="g2", grantee_id="third")
        stores.keys.write(TENANT, lambda records: records.grants.put(GRANT))
        for one in (theirs, kept):
            stores.keys.write(OTHER_TENANT_ID, lambda records, one=one: records.grants.put(one))  # type: ignore[misc] # as above
        stores.deletions.begin(DELETION)
        stores.deletions.delete_rows(TENANT)
        found = stores.deletions.find(TENANT)
        assert found is not None
        rows = found.destroyed["rows"]
        assert {
            "api_keys": 1,
            "members": 1,
            "models": 1,
            "deployments": 1,
            "tenants": 1,
        }.items() <= (rows.items())
        assert [one.tenant_id for one in stores.keys.all_tenants()] == [OTHER_TENANT_ID]
        assert stores.keys.all_grants() == [kept]
        assert stores.catalog.tenant_ids() == [OTHER_TENANT_ID]
        assert len(stores.keys.all_keys()) == len(stores.deployments.list_all()) == 1
        stores.deletions.delete_rows(TENANT)
        again = stores.deletions.find(TENANT)
        assert again is not None
        assert again.destroyed["rows"] == rows, "done again, it counts nothing twice"
