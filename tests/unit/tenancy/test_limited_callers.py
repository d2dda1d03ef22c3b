"""Whoever has limits of its own makes nobody that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelry.domain.access import Principal, Role
from modelry.domain.errors import PermissionDenied
from modelry.services.quotas.accounts import Accounts
from modelry.services.quotas.service import QuotasService
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.tenants import TenantsService
from modelry.services.usage.prices import PricesService
from modelry.testing.memory_database import MemoryDatabase

LIMITS = {"tokens_per_day": 5}


class Limited:
    """An owner's key with limits, another key, and what may be done with them."""

    def __init__(self, database: MemoryDatabase, keys: TenancyService, owner: Principal) -> None:
        self.database = database
        self.keys = keys
        self.quotas = QuotasService(database.quotas, Accounts(), PricesService(database.prices))
        self.members = MembersService(database.keys, keys.changed)
        self.tenants = TenantsService(database.keys, database.deletions, keys)
        self.owner = owner
        self.caller = keys.create(owner, name="limited", role=Role.OWNER).key.principal()
        self.other = keys.create(owner, name="other", role=Role.VIEWER).key.key_id
        self.member = self.members.add(owner, role=Role.VIEWER, issuer="i", subject="s").member_id
        self.quotas.set_key(owner, self.caller.key_id, LIMITS)


@pytest.fixture
def limited(database: MemoryDatabase, tenancy: TenancyService, owner: Principal) -> Limited:
    return Limited(database, tenancy, owner)


ACTS: dict[str, Callable[[Limited, Principal], Any]] = {
    "make a key": lambda all_, who: all_.keys.create(who, name="k", role=Role.VIEWER),
    "learn the secret of a key": lambda all_, who: all_.keys.rotate(who, all_.other),
    "add a member": lambda all_, who: all_.members.add(
        who, role=Role.VIEWER, issuer="i", subject="new"
    ),
    "give a member a role": lambda all_, who: all_.members.change_role(
        who, all_.member, Role.ADMIN
    ),
    "enable a member": lambda all_, who: all_.members.enable(who, all_.member),
    "make a tenant": lambda all_, who: all_.tenants.create(who, "new", "New"),
    "change its own limits": lambda all_, who: all_.quotas.set_key(who, who.key_id, {}),
    "end its own limits": lambda all_, who: all_.quotas.clear_key(who, who.key_id),
    "change the limits of others": lambda all_, who: all_.quotas.set_key(who, all_.other, LIMITS),
    "end the limits of others": lambda all_, who: all_.quotas.clear_key(who, all_.other),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_limited_caller_cannot(limited: Limited, act: str) -> None:
    with pytest.raises(PermissionDenied, match=r"limits"):
        ACTS[act](limited, limited.caller)


@pytest.mark.parametrize("act", [one for one in ACTS if "its own" not in one])
def test_one_without_limits_can(limited: Limited, act: str) -> None:
    limited.quotas.clear_key(limited.owner, limited.caller.key_id)
    ACTS[act](limited, limited.caller)


def test_limits_that_bound_nothing_are_none(limited: Limited) -> None:
    limited.quotas.set_key(limited.owner, limited.caller.key_id, {})
    limited.keys.create(limited.caller, name="k", role=Role.VIEWER)


def test_a_limited_key_gives_itself_a_new_secret_and_stays_limited(limited: Limited) -> None:
    minted = limited.keys.rotate(limited.caller, limited.caller.key_id)
    assert minted.key.key_id == limited.caller.key_id
    with pytest.raises(PermissionDenied):
        limited.keys.create(limited.keys.verify(minted.token), name="k", role=Role.VIEWER)


def test_nobody_limits_itself(limited: Limited) -> None:
    with pytest.raises(PermissionDenied, match="own limits"):
        limited.quotas.set_key(limited.owner, limited.owner.key_id, LIMITS)
