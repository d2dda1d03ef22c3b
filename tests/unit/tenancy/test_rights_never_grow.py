"""No sequence of calls raises a caller's rights beyond those of whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from modelry.domain.access import (
    DEFAULT_TENANT_ID,
    PLATFORM_PERMISSIONS,
    ApiKey,
    Permission,
    Principal,
    Role,
)
from modelry.domain.errors import Conflict, InvalidInput, ModelryError, PermissionDenied
from modelry.domain.quotas import UNLIMITED, QuotaLimits
from modelry.services.quotas.accounts import Accounts
from modelry.services.quotas.service import QuotasService
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.service import MintedKey, TenancyService
from modelry.services.tenancy.sharing import SharingService
from modelry.services.tenancy.tenants import TenantsService
from modelry.services.usage.prices import PricesService
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, add_tenants

ROLES = st.sampled_from([Role.OWNER, Role.OWNER, Role.ADMIN, Role.ADMIN, *Role])
"""Mostly those that may hand something on."""
SOME = [Permission.KEYS_WRITE, Permission.MEMBERS_WRITE, Permission.INFERENCE]
SCOPES = (
    st.none()
    | st.none()
    | st.just(frozenset(SOME))
    | st.frozensets(st.sampled_from(sorted(Permission)), min_size=1, max_size=6)
)
NAMES = st.frozensets(st.sampled_from(["a", "b", "c@other"]), max_size=2)
ENDS = st.none() | st.integers(1, 5).map(lambda hours: NOW + timedelta(hours=hours))
EVER = NOW + timedelta(days=10_000)


class Reach:
    """The most that a caller may ever do: what its makers could when they made it."""

    def __init__(self, principal: Principal, ends: datetime | None) -> None:
        self.tenant_id = principal.tenant_id
        self.permissions = principal.permissions
        self.deployments = principal.deployments
        self.ends = ends or EVER

    def contains(self, other: Reach) -> bool:
        fewer = not self.deployments or (
            bool(other.deployments) and other.deployments <= self.deployments
        )
        return (
            other.tenant_id == self.tenant_id
            and other.permissions <= self.permissions
            and fewer
            and other.ends <= self.ends
        )


class Rights(RuleBasedStateMachine):
    """Callers make keys and members, change, limit and end them, share and suspend, at random."""

    callers = Bundle("callers")

    def __init__(self) -> None:
        super().__init__()
        database = MemoryDatabase()
        add_tenants(database)
        self.store = database.keys
        self.keys = TenancyService(database.keys, b"p" * 32, clock=lambda: NOW)
        self.members = MembersService(database.keys, self.keys.changed, clock=lambda: NOW)
        self.sharing = SharingService(database.keys, self.keys.changed, clock=lambda: NOW)
        self.tenants = TenantsService(
            database.keys, database.deletions, self.keys, clock=lambda: NOW
        )
        self.quotas = QuotasService(
            database.quotas, Accounts(), PricesService(database.prices), clock=lambda: NOW
        )
        self.quota_store = database.quotas
        self.tokens: dict[str, Reach] = {}
        """What each token that was told may do at most: what whoever was told it could."""
        self.people: dict[str, Reach] = {}

    @initialize(target=callers)
    def owners(self) -> object:
        home = self.keys.ensure_owner_key()
        assert home is not None
        other = self.keys.create(
            samples.principal(Role.OWNER, OTHER_TENANT_ID), name="other", role=Role.OWNER
        )
        limited = self.keys.create(home.key.principal(), name="limited", role=Role.OWNER)
        self.quotas.set_key(home.key.principal(), limited.key.key_id, {"tokens_per_day": 1})
        for minted in (home, other, limited):
            self.tokens[minted.token] = self.reach(minted.key.principal())
        return multiple(*(one.key.principal() for one in (home, other, limited)))

    def reach(self, principal: Principal) -> Reach:
        key = self.store.read(principal.tenant_id, lambda records: records.find(principal.key_id))
        return Reach(principal, None if key is None else key.expires_at)

    def tried(self, act: Callable[[], object]) -> object | None:
        """What `act` gives, or None when it is refused in words."""
        try:
            return act()
        except (PermissionDenied, InvalidInput, Conflict, ModelryError):
            return None

    def told(self, caller: Principal, minted: object | None) -> object:
        """Somebody was told a token: it may do no more than whoever asked for it."""
        if not isinstance(minted, MintedKey):
            return multiple()
        mine, made = self.reach(caller), Reach(minted.key.principal(), minted.key.expires_at)
        assert mine.contains(made), (caller, minted.key)
        is_itself = minted.key.key_id == caller.key_id
        assert is_itself or self.limits_of(caller) == UNLIMITED, (caller, minted.key)
        self.tokens[minted.token] = mine
        return minted.key.principal()

    @rule(target=callers, caller=callers, role=ROLES, scopes=SCOPES, names=NAMES, ends=ENDS)
    def make_key(
        self,
        caller: Principal,
        role: Role,
        scopes: frozenset[Permission] | None,
        names: frozenset[str],
        ends: datetime | None,
    ) -> object:
        made = self.tried(
            lambda: self.keys.create(
                caller, name="k", role=role, scopes=scopes, deployments=names, expires_at=ends
            )
        )
        return self.told(caller, made)

    @rule(target=callers, caller=callers, other=callers, overlap=st.integers(0, 100))
    def rotate(self, caller: Principal, other: Principal, overlap: int) -> object:
        made = self.tried(
            lambda: self.keys.rotate(caller, other.key_id, timedelta(seconds=overlap))
        )
        return self.told(caller, made)

    @rule(caller=callers, other=callers)
    def rename_or_revoke(self, caller: Principal, other: Principal) -> None:
        self.tried(lambda: self.keys.rename(caller, other.key_id, "renamed"))
        self.tried(lambda: self.keys.revoke(caller, other.key_id))

    @rule(target=callers, caller=callers, role=ROLES, number=st.integers(0, 5))
    def add_member(self, caller: Principal, role: Role, number: int) -> object:
        made = self.tried(
            lambda: self.members.add(caller, role=role, issuer="i", subject=str(number))
        )
        return multiple() if made is None else self.person(caller, made.member_id)  # type: ignore[attr-defined] # a Member

    @rule(target=callers, caller=callers, other=callers, role=ROLES)
    def change_member(self, caller: Principal, other: Principal, role: Role) -> object:
        member_id = other.key_id.removeprefix("user:")
        self.tried(lambda: self.members.disable(caller, member_id))
        self.tried(lambda: self.members.enable(caller, member_id))
        made = self.tried(lambda: self.members.change_role(caller, member_id, role))
        return multiple() if made is None else self.person(caller, member_id)

    def person(self, caller: Principal, member_id: str) -> Principal:
        member = self.store.read(caller.tenant_id, lambda records: records.members.find(member_id))
        assert member is not None
        assert self.reach(caller).contains(Reach(member.principal(), None)), (caller, member)
        assert self.limits_of(caller) == UNLIMITED, (caller, member)
        return member.principal()

    def limits_of(self, caller: Principal) -> QuotaLimits:
        found = self.quota_store.read(caller.tenant_id, lambda records: records.find(caller.key_id))
        return found.limits if found else UNLIMITED

    @rule(caller=callers, other=callers, size=st.none() | st.integers(1, 9))
    def limit(self, caller: Principal, other: Principal, size: int | None) -> None:
        before = self.limits_of(caller)
        changed = self.tried(
            lambda: self.quotas.set_key(caller, other.key_id, {"tokens_per_day": size})
        )
        if changed is not None or self.tried(lambda: self.clear(caller, other)) is not None:
            assert before == UNLIMITED, (caller, other)
            assert other.key_id != caller.key_id
            assert Permission.QUOTAS_WRITE in caller.permissions
        assert self.limits_of(caller) == before, "whoever is limited stays so by its own acts"

    def clear(self, caller: Principal, other: Principal) -> bool:
        self.quotas.clear_key(caller, other.key_id)
        return True

    @rule(caller=callers, tenant_id=st.sampled_from([DEFAULT_TENANT_ID, OTHER_TENANT_ID, "x"]))
    def platform(self, caller: Principal, tenant_id: str) -> None:
        before = {one.tenant_id: one for one in self.store.all_tenants()}
        self.tried(lambda: self.tenants.suspend(caller, tenant_id))
        self.tried(lambda: self.tenants.resume(caller, tenant_id))
        made = self.tried(lambda: self.tenants.create(caller, "new", "New"))
        assert made is None or self.limits_of(caller) == UNLIMITED
        self.tried(lambda: self.sharing.share(caller, "a", OTHER_TENANT_ID))
        after = {one.tenant_id: one for one in self.store.all_tenants()}
        if Permission.PLATFORM_WRITE not in caller.permissions:
            assert after == before

    @invariant()
    def no_token_does_more_than_who_was_told_it(self) -> None:
        for token, reach in self.tokens.items():
            try:
                principal = self.keys.verify(token)
            except ModelryError:
                continue
            key = self.key_of(principal)
            assert reach.contains(Reach(principal, key.expires_at)), (principal, reach)

    @invariant()
    def the_platform_is_the_home_tenants(self) -> None:
        for key in self.store.all_keys():
            if key.tenant_id != DEFAULT_TENANT_ID:
                assert not key.principal().permissions & PLATFORM_PERMISSIONS

    @invariant()
    def every_tenant_has_an_owner(self) -> None:
        for tenant in self.store.all_tenants():
            keys, people = self.store.read(
                tenant.tenant_id, lambda records: (records.all(), records.members.all())
            )
            owners = [one for one in (*keys, *people) if one.role is Role.OWNER]
            assert owners, tenant

    def key_of(self, principal: Principal) -> ApiKey:
        key = self.store.read(principal.tenant_id, lambda records: records.find(principal.key_id))
        assert key is not None
        return key


Rights.TestCase.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
TestRights = Rights.TestCase
