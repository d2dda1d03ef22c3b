"""Tenants: made, suspended and deleted by the platform, and who is admitted meanwhile."""

from __future__ import annotations

import pytest

from modelry.domain.access import Permission, Principal, Role, TenantState
from modelry.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TenantSuspended,
    Unauthenticated,
)
from modelry.domain.tenants import DeletionStage
from modelry.services.inference.authentication import Authenticator, SessionCredentials
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.tenants import TenantsService
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, principal


@pytest.fixture
def tenants(database: MemoryDatabase, tenancy: TenancyService, clock) -> TenantsService:
    return TenantsService(database.keys, database.deletions, tenancy, clock=clock)


@pytest.fixture
def authenticator(tenancy: TenancyService) -> Authenticator:
    authenticator = Authenticator(tenancy)
    tenancy.on_change(authenticator.refresh)
    return authenticator


def test_a_new_tenant_has_an_owner_who_can_do_all_but_run_the_platform(
    tenants: TenantsService, tenancy: TenancyService, owner: Principal
) -> None:
    tenant, minted = tenants.create(owner, "acme", "Acme")
    caller = tenancy.verify(minted.token)
    assert (caller.tenant_id, caller.role) == ("acme", Role.OWNER)
    assert set(Permission) - caller.permissions == {
        Permission.PUBLIC, Permission.PLATFORM_READ, Permission.PLATFORM_WRITE,
    }  # fmt: skip
    assert tenants.own(caller) == tenant
    assert tenants.get(owner, "acme") == tenant
    assert [one.tenant_id for one in tenants.list_tenants(owner)] == ["acme", "default", "other"]
    tenancy.create(caller, name="second", role=Role.OWNER)


def test_the_platform_is_run_from_the_home_tenant_alone(tenants: TenantsService) -> None:
    for caller in (principal(Role.OWNER, OTHER_TENANT_ID), principal(Role.DEVELOPER)):
        for act in (
            lambda: tenants.create(caller, "acme", "Acme"),  # noqa: B023 - called at once
            lambda: tenants.list_tenants(caller),  # noqa: B023
            lambda: tenants.get(caller, "default"),  # noqa: B023
            lambda: tenants.rename(caller, "other", "x"),  # noqa: B023
            lambda: tenants.suspend(caller, "other"),  # noqa: B023
            lambda: tenants.resume(caller, "other"),  # noqa: B023
            lambda: tenants.delete(caller, "other", "Other"),  # noqa: B023
            lambda: tenants.deletion(caller, "other"),  # noqa: B023
        ):
            with pytest.raises(PermissionDenied):
                act()


def test_the_home_tenant_stays(tenants: TenantsService, owner: Principal) -> None:
    for act in (
        lambda: tenants.suspend(owner, "default"),
        lambda: tenants.delete(owner, "default", "Default"),
    ):
        with pytest.raises(Conflict, match="home tenant"):
            act()
    assert tenants.own(owner).state is TenantState.ACTIVE


@pytest.mark.parametrize(
    "tenant_id", ["", "a", "A1", "1a", "3", "-a", "a-", "a.b", "a@b", "a b", "ä1", "a" * 41, "a\n"]
)
def test_unfit_ids_are_refused(tenants: TenantsService, owner: Principal, tenant_id: str) -> None:
    with pytest.raises(InvalidInput) as told:
        tenants.create(owner, tenant_id, "Acme")
    assert told.value.param == "tenant_id"


@pytest.mark.parametrize("name", ["", " ", " a", "x" * 201, "a\x00", "a\nb"])
def test_unfit_names_are_refused(tenants: TenantsService, owner: Principal, name: str) -> None:
    for act in (
        lambda: tenants.create(owner, "acme", name),
        lambda: tenants.rename(owner, "other", name),
    ):
        with pytest.raises(InvalidInput) as told:
            act()
        assert told.value.param == "name"


def test_a_suspended_tenant_is_refused_until_it_is_resumed(
    tenants: TenantsService,
    tenancy: TenancyService,
    authenticator: Authenticator,
    owner: Principal,
    clock,
) -> None:
    _, minted = tenants.create(owner, "acme", "Acme")
    assert authenticator.principal(minted.token).tenant_id == "acme"
    assert tenants.suspend(owner, "acme").changed_at == NOW
    for look in (authenticator.principal, tenancy.verify):
        with pytest.raises(TenantSuspended, match="suspended"):
            look(minted.token)
    with pytest.raises(TenantSuspended):
        authenticator.require_active("acme")
    with pytest.raises(Unauthenticated):
        authenticator.require_active("nobody")
    with pytest.raises(Unauthenticated):
        authenticator.principal(minted.token + "x")
    assert authenticator.take_used() == {("acme", minted.key.key_id)}, "before, and not since"
    assert tenants.suspend(owner, "acme") == tenants.get(owner, "acme")
    assert tenants.resume(owner, "acme").state is TenantState.ACTIVE
    authenticator.require_active("acme")
    assert authenticator.principal(minted.token).tenant_id == "acme"
    tenancy.revoke(
        minted.key.principal(),
        tenancy.create(minted.key.principal(), name="second", role=Role.OWNER).key.key_id,
    )


class Sessions:
    """Every token is a session of the tenant that it names."""

    def refresh(self) -> None:
        """There is nothing to read."""

    def admit(self, token: str, csrf: str | None, *, is_unsafe: bool) -> Principal:
        del csrf, is_unsafe
        return principal(Role.OWNER, token)


def test_people_of_a_suspended_tenant_are_refused_too(
    tenants: TenantsService, tenancy: TenancyService, owner: Principal
) -> None:
    authenticator = Authenticator(tenancy, Sessions())
    tenancy.on_change(authenticator.refresh)
    session = SessionCredentials(OTHER_TENANT_ID, None, is_unsafe=False)
    assert authenticator.from_request(None, session).tenant_id == OTHER_TENANT_ID
    tenants.suspend(owner, OTHER_TENANT_ID)
    with pytest.raises(TenantSuspended):
        authenticator.from_request(None, session)
    with pytest.raises(Unauthenticated):
        authenticator.from_request(None, SessionCredentials("gone", None, is_unsafe=False))


def test_a_revoked_key_of_a_suspended_tenant_is_unknown(
    tenants: TenantsService, tenancy: TenancyService, authenticator: Authenticator, owner: Principal
) -> None:
    _, first = tenants.create(owner, "acme", "Acme")
    second = tenancy.create(first.key.principal(), name="second", role=Role.VIEWER)
    tenancy.revoke(first.key.principal(), second.key.key_id)
    tenants.suspend(owner, "acme")
    with pytest.raises(Unauthenticated):
        authenticator.principal(second.token)


def test_deleting_needs_the_name_and_has_no_way_back(
    tenants: TenantsService, authenticator: Authenticator, owner: Principal
) -> None:
    _, minted = tenants.create(owner, "acme", "Acme Inc")
    for name in ("", "acme", "Acme inc"):
        with pytest.raises(InvalidInput) as told:
            tenants.delete(owner, "acme", name)
        assert told.value.param == "confirm"
    assert tenants.get(owner, "acme").state is TenantState.ACTIVE
    begun = tenants.delete(owner, "acme", "Acme Inc")
    assert (begun.stage, begun.requested_by) == (DeletionStage.STOPPING, owner.key_id)
    assert tenants.delete(owner, "acme", "Acme Inc") == begun
    assert tenants.deletion(owner, "acme") == begun
    with pytest.raises(TenantSuspended, match="being deleted"):
        authenticator.principal(minted.token)
    for act in (tenants.resume, tenants.suspend):
        with pytest.raises(Conflict):
            act(owner, "acme")
    with pytest.raises(NotFound):
        tenants.deletion(owner, "other")


def test_what_is_not_there(tenants: TenantsService, owner: Principal) -> None:
    for act in (
        lambda: tenants.get(owner, "nobody"),
        lambda: tenants.rename(owner, "nobody", "x"),
        lambda: tenants.suspend(owner, "nobody"),
        lambda: tenants.resume(owner, "nobody"),
        lambda: tenants.delete(owner, "nobody", "x"),
        lambda: tenants.deletion(owner, "nobody"),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(Conflict):
        tenants.create(owner, "other", "Other")
    assert tenants.rename(owner, "other", "New").name == "New"
