"""Shared deployments: who may share, who sees what, and what the route table makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import Permission, Principal, Role
from modelry.domain.deployments import Deployment
from modelry.domain.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from modelry.domain.sharing import DeploymentGrant, check_callable_name
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.routing import Route, RouteTable, Target
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.sharing import SharingService
from modelry.services.tenancy.tenants import TenantsService
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, principal

GRANTEE = principal(Role.OWNER, OTHER_TENANT_ID)


@pytest.fixture
def sharing(database: MemoryDatabase, tenancy: TenancyService, clock) -> SharingService:
    for name in ("pets", "cats"):
        version = samples.version(name)
        database.catalog.write(
            "default", lambda records, version=version: samples.add_version(records, version)
        )
        database.deployments.put(samples.deployment(name, name))
    return SharingService(database.keys, tenancy.changed, clock=clock)


@pytest.fixture
def tenants(database: MemoryDatabase, tenancy: TenancyService, clock) -> TenantsService:
    return TenantsService(database.keys, database.deletions, tenancy, clock=clock)


def test_a_grant_is_listed_on_both_sides_until_it_is_revoked(
    sharing: SharingService, owner: Principal
) -> None:
    grant = sharing.share(owner, "pets", OTHER_TENANT_ID, note="for the pilot")
    assert grant.shared_name == "pets@default"
    assert sharing.list_given(owner) == [grant]
    assert sharing.list_received(GRANTEE) == [grant]
    assert sharing.list_received(owner) == sharing.list_given(GRANTEE) == []
    assert sharing.holding() == [grant]
    revoked = sharing.revoke(owner, grant.grant_id)
    assert revoked.revoked_at == NOW
    assert sharing.revoke(owner, grant.grant_id) == revoked
    assert sharing.list_given(owner) == [revoked]
    assert sharing.list_received(GRANTEE) == sharing.holding() == []
    sharing.share(owner, "pets", OTHER_TENANT_ID)


def test_a_grant_ends(sharing: SharingService, owner: Principal, clock) -> None:
    soon = NOW + timedelta(hours=1)
    grant = sharing.share(owner, "pets", OTHER_TENANT_ID, expires_at=soon)
    with pytest.raises(Conflict, match=grant.grant_id):
        sharing.share(owner, "pets", OTHER_TENANT_ID)
    sharing.share(owner, "cats", OTHER_TENANT_ID)
    clock.now = soon
    assert [one.deployment for one in sharing.holding()] == ["cats"]
    assert [one.deployment for one in sharing.list_received(GRANTEE)] == ["cats"]
    sharing.share(owner, "pets", OTHER_TENANT_ID)


def test_whether_a_tenant_exists_is_told_to_nobody(
    sharing: SharingService, tenants: TenantsService, owner: Principal, clock
) -> None:
    there = sharing.share(owner, "pets", OTHER_TENANT_ID)
    nobody = sharing.share(owner, "pets", "nobody")
    assert replace(nobody, grant_id="", grantee_id="") == replace(there, grant_id="", grantee_id="")
    assert sharing.holding() == [there]
    clock.now += timedelta(seconds=1)
    tenants.create(owner, "nobody", "Nobody")
    assert sharing.holding() == [there], "it was meant for no tenant that was made later"
    assert sharing.list_received(principal(Role.OWNER, "nobody")) == []


def test_a_suspended_tenant_is_let_in_nowhere(
    sharing: SharingService, tenants: TenantsService, owner: Principal
) -> None:
    sharing.share(owner, "pets", OTHER_TENANT_ID)
    tenants.suspend(owner, OTHER_TENANT_ID)
    assert sharing.holding() == []
    tenants.resume(owner, OTHER_TENANT_ID)
    assert len(sharing.holding()) == 1


def test_a_grant_goes_with_its_deployment(
    sharing: SharingService, database: MemoryDatabase, owner: Principal
) -> None:
    sharing.share(owner, "pets", OTHER_TENANT_ID)
    database.deployments.delete("default", "pets")
    database.deployments.put(samples.deployment("pets"))
    assert sharing.holding() == sharing.list_given(owner) == []


def test_only_what_the_caller_covers_is_shared(
    sharing: SharingService, tenancy: TenancyService, owner: Principal
) -> None:
    limited = tenancy.create(owner, name="k", role=Role.ADMIN, deployments=["cats"]).key.principal()
    grant = sharing.share(owner, "pets", OTHER_TENANT_ID)
    with pytest.raises(NotFound):
        sharing.share(limited, "pets", OTHER_TENANT_ID)
    with pytest.raises(NotFound):
        sharing.revoke(limited, grant.grant_id)
    assert sharing.list_given(limited) == []
    own = sharing.share(limited, "cats", OTHER_TENANT_ID)
    assert sharing.list_given(limited) == [own]
    some = replace(GRANTEE, deployments=frozenset({"cats@default"}))
    assert sharing.list_received(some) == [own]


@pytest.mark.parametrize(
    ("wanted", "options", "error"),
    [
        (("nobody", OTHER_TENANT_ID), {}, NotFound),
        (("pets", "default"), {}, InvalidInput),
        (("pets", "No Tenant"), {}, InvalidInput),
        (("pets", OTHER_TENANT_ID), {"note": "x" * 501}, InvalidInput),
        (("pets", OTHER_TENANT_ID), {"note": "a\x00"}, InvalidInput),
        (("pets", OTHER_TENANT_ID), {"expires_at": NOW}, InvalidInput),
        (("pets", OTHER_TENANT_ID), {"expires_at": NOW.replace(tzinfo=None)}, InvalidInput),
    ],
)
def test_what_cannot_be_shared(
    sharing: SharingService, owner: Principal, wanted: tuple[str, str], options, error
) -> None:
    with pytest.raises(error):
        sharing.share(owner, *wanted, **options)
    assert sharing.list_given(owner) == []


def test_who_may_share(sharing: SharingService, owner: Principal) -> None:
    grant = sharing.share(owner, "pets", OTHER_TENANT_ID)
    for role in (Role.DEVELOPER, Role.OPERATOR, Role.VIEWER, Role.AUDITOR, Role.INFERENCE):
        with pytest.raises(PermissionDenied):
            sharing.share(principal(role), "cats", OTHER_TENANT_ID)
        with pytest.raises(PermissionDenied):
            sharing.revoke(principal(role), grant.grant_id)
    with pytest.raises(NotFound):
        sharing.revoke(GRANTEE, grant.grant_id)
    with pytest.raises(NotFound):
        sharing.share(GRANTEE, "pets", "default")


@pytest.mark.parametrize("name", ["pets", "pets@other", "a.b-c_d@x1"])
def test_names_that_can_be_called(name: str) -> None:
    assert check_callable_name(name) == name


@pytest.mark.parametrize("name", ["", "@", "a@", "@b2", "a@b@c", "a@B", "a@1", "A@bb", "a@b c"])
def test_names_that_cannot_be_called(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_callable_name(name)


# ---- routes -----------------------------------------------------------------------------------


def routes_of(*deployments: Deployment) -> dict[tuple[str, str], Route]:
    found = {}
    for one in deployments:
        version = samples.version(one.model_name, tenant_id=one.tenant_id)
        group = ReplicaGroup.__new__(ReplicaGroup)  # not called here
        target = Target(one, version, group)
        found[one.tenant_id, one.name] = Route(one, (target,), (100.0,))
    return found


def grant_of(deployment: str, owner_id: str, grantee_id: str) -> DeploymentGrant:
    return DeploymentGrant(owner_id, "g", deployment, grantee_id, NOW, "owner")


def names(routes: Sequence[Route]) -> list[str]:
    return [route.deployment.name for route in routes]


def test_a_shared_route_is_called_and_not_looked_at() -> None:
    table = RouteTable()
    pets, own = (
        samples.deployment("pets"),
        replace(samples.deployment("pets"), tenant_id=OTHER_TENANT_ID),
    )
    table.swap(routes_of(pets, own))
    before = table.generation
    table.share([grant_of("pets", "default", OTHER_TENANT_ID)])
    assert table.generation > before, "what was remembered of routes holds no more"
    found = table.find(GRANTEE, "pets@default")
    assert (found.owner_id, found.deployment.tenant_id) == ("default", "default")
    assert found.deployment.name == found.targets[0].deployment.name == "pets@default"
    assert found.targets[0].group is table.find(principal(), "pets").targets[0].group
    assert table.find(GRANTEE, "pets").deployment is own
    assert names(table.visible_to(GRANTEE)) == ["pets", "pets@default"]
    assert names(table.covered_by(GRANTEE)) == ["pets"]
    assert len(table.all()) == 2
    with pytest.raises(NotFound):
        table.look_up(GRANTEE, "pets@default")
    strangers = (
        (principal(), "pets@other"),
        (principal(), "pets@default"),
        (GRANTEE, "cats@default"),
        (principal(Role.OWNER, "third"), "pets@default"),
    )
    for caller, name in strangers:
        with pytest.raises(NotFound):
            table.find(caller, name)
    table.share([])
    with pytest.raises(NotFound):
        table.find(GRANTEE, "pets@default")
    assert names(table.visible_to(GRANTEE)) == ["pets"]


def test_a_limited_key_names_what_is_shared() -> None:
    table = RouteTable()
    table.swap(routes_of(samples.deployment("pets")))
    table.share([grant_of("pets", "default", OTHER_TENANT_ID)])
    for allowed, may in (("pets", False), ("pets@default", True), ("pets@other", False)):
        caller = replace(GRANTEE, deployments=frozenset({allowed}))
        if may:
            assert table.find(caller, "pets@default")
        else:
            with pytest.raises(NotFound):
                table.find(caller, "pets@default")
    blind = replace(GRANTEE, permissions=GRANTEE.permissions - {Permission.INFERENCE})
    with pytest.raises(PermissionDenied):
        table.find(blind, "pets@default")
    assert table.visible_to(blind) == []


def test_a_shared_route_follows_its_owners() -> None:
    table = RouteTable()
    table.share([grant_of("pets", "default", OTHER_TENANT_ID)])
    with pytest.raises(NotFound):
        table.find(GRANTEE, "pets@default")
    table.swap(routes_of(samples.deployment("pets")))
    assert table.find(GRANTEE, "pets@default")
    table.swap({})
    with pytest.raises(NotFound):
        table.find(GRANTEE, "pets@default")
