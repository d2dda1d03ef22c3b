"""Members: who may add and change whom, and how sign-in finds them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelry.domain.access import Permission, Principal, Role, effective_permissions
from modelry.domain.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.service import OWNER_KEY_ID, TenancyService
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, principal

ISSUER = "https://issuer.example"


@pytest.fixture
def members(database: MemoryDatabase, tenancy: TenancyService) -> MembersService:
    return MembersService(database.keys, tenancy.changed, clock=lambda: NOW)


def test_somebody_invited_becomes_known_at_the_first_sign_in(
    members: MembersService, owner: Principal
) -> None:
    invited = members.add(owner, email=" Ada@Example.COM ", role=Role.DEVELOPER, name="Ada")
    assert members.find_member(ISSUER, "1") is None
    assert members.find_invited("default", "ADA@example.com") == invited
    assert members.find_invited(OTHER_TENANT_ID, "ada@example.com") is None
    members.put_member(replace(invited, issuer=ISSUER, subject="1"))
    found = members.find_member(ISSUER, "1")
    assert found is not None
    assert found.principal() == Principal(
        "default",
        f"user:{invited.member_id}",
        Role.DEVELOPER,
        effective_permissions("default", Role.DEVELOPER),
    )
    assert members.find_invited("default", "ada@example.com") is None
    assert members.list_members(owner) == [found]
    assert members.get(owner, invited.member_id) == found


def test_a_person_may_be_in_several_tenants(members: MembersService) -> None:
    mine = samples.member()
    theirs = samples.member(tenant_id=OTHER_TENANT_ID)
    members.put_member(theirs)
    members.put_member(mine)
    assert mine.issuer is not None
    assert mine.subject is not None
    assert members.find_members(mine.issuer, mine.subject) == [mine, theirs]
    assert members.find_member(mine.issuer, mine.subject, OTHER_TENANT_ID) == theirs
    with pytest.raises(Conflict):
        members.put_member(samples.member(tenant_id="nobody"))


@pytest.mark.parametrize("own", list(Role))
@pytest.mark.parametrize("wanted", list(Role))
def test_a_member_gives_only_rights_that_it_has(
    members: MembersService, owner: Principal, own: Role, wanted: Role
) -> None:
    caller = replace(samples.member("caller"), role=own).principal()
    other = members.add(owner, email="other@example.com", role=wanted)
    plain = members.add(owner, email="plain@example.com", role=Role.INFERENCE)
    may = (
        Permission.MEMBERS_WRITE in caller.permissions
        and effective_permissions("default", wanted) <= caller.permissions
        and (wanted is not Role.OWNER or own is Role.OWNER)
    )
    acts = (
        lambda: members.add(caller, email="new@example.com", role=wanted),
        lambda: members.change_role(caller, plain.member_id, wanted),
        lambda: members.change_role(caller, other.member_id, Role.INFERENCE),
        lambda: members.disable(caller, other.member_id),
        lambda: members.enable(caller, other.member_id),
    )
    before = members.list_members(owner)
    for act in acts:
        if may:
            act()
        else:
            with pytest.raises(PermissionDenied):
                act()
    if not may:
        assert members.list_members(owner) == before


@pytest.mark.parametrize(
    "limits",
    [
        {"deployments": ["a"]},
        {"scopes": frozenset({Permission.MEMBERS_WRITE, Permission.INFERENCE})},
        {"expires_at": NOW + timedelta(days=1)},
    ],
    ids=["deployments", "scopes", "expiry"],
)
def test_a_limited_key_makes_no_members_who_would_not_be(
    tenancy: TenancyService, members: MembersService, owner: Principal, limits
) -> None:
    member = members.add(owner, email="m@example.com", role=Role.INFERENCE)
    members.disable(owner, member.member_id)
    key = tenancy.create(owner, name="limited", role=Role.OWNER, **limits).key
    caller = key.principal()
    for act in (
        lambda: members.add(caller, email="new@example.com", role=Role.INFERENCE),
        lambda: members.change_role(caller, member.member_id, Role.INFERENCE),
        lambda: members.enable(caller, member.member_id),
    ):
        with pytest.raises(PermissionDenied):
            act()


def test_the_last_owner_stays(
    members: MembersService, tenancy: TenancyService, owner: Principal
) -> None:
    ada = members.add(owner, issuer=ISSUER, subject="ada", role=Role.OWNER)
    tenancy.revoke(owner, OWNER_KEY_ID)  # she is left
    for act in (
        lambda: members.disable(owner, ada.member_id),
        lambda: members.change_role(owner, ada.member_id, Role.ADMIN),
    ):
        with pytest.raises(Conflict, match="last owner"):
            act()
    invited = members.add(owner, email="bob@example.com", role=Role.OWNER)
    with pytest.raises(Conflict, match="last owner"):
        members.disable(owner, ada.member_id)  # nobody knows whether Bob will come
    members.disable(owner, invited.member_id)
    members.change_role(owner, ada.member_id, Role.OWNER)
    tenancy.create(owner, name="only some", role=Role.OWNER, deployments=["a"])
    with pytest.raises(Conflict, match="last owner"):
        members.disable(owner, ada.member_id)
    tenancy.create(owner, name="whole", role=Role.OWNER)
    assert members.disable(owner, ada.member_id).disabled_at == NOW
    assert members.disable(owner, ada.member_id).disabled_at == NOW
    assert members.enable(owner, ada.member_id).disabled_at is None


def test_a_person_is_added_once(members: MembersService, owner: Principal) -> None:
    members.add(owner, email="ada@example.com", role=Role.VIEWER)
    with pytest.raises(Conflict, match="already"):
        members.add(owner, email="ADA@example.com", role=Role.VIEWER)
    members.add(owner, issuer=ISSUER, subject="1", role=Role.VIEWER)
    with pytest.raises(Conflict, match="already"):
        members.add(owner, issuer=ISSUER, subject="1", role=Role.VIEWER)
    members.add(owner, issuer="https://other.example", subject="1", role=Role.VIEWER)


@pytest.mark.parametrize(
    ("person", "param"),
    [
        ({}, "email"),
        ({"email": ""}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": "a b@c"}, "email"),
        ({"email": "a@b\n"}, None),
        ({"email": "a@b@c"}, "email"),
        ({"email": "a@" + "b" * 260}, "email"),
        ({"issuer": ISSUER}, "subject"),
        ({"subject": "1"}, "subject"),
        ({"issuer": ISSUER, "subject": "x" * 256}, "subject"),
        ({"issuer": "i" * 513, "subject": "1"}, "issuer"),
        ({"email": "a@b.c", "name": "x" * 201}, "name"),
        ({"email": "a@b.c", "name": "a\x00"}, "name"),
    ],
)
def test_an_unfit_person_is_refused(
    members: MembersService, owner: Principal, person, param
) -> None:
    if param is None:
        assert members.add(owner, role=Role.VIEWER, **person).email == "a@b"
        return
    with pytest.raises(InvalidInput) as told:
        members.add(owner, role=Role.VIEWER, **person)
    assert told.value.param == param


def test_members_of_others_are_not_there(members: MembersService, owner: Principal) -> None:
    stranger = principal(Role.OWNER, OTHER_TENANT_ID)
    member = members.add(owner, email="ada@example.com", role=Role.VIEWER)
    assert members.list_members(stranger) == []
    for act in (
        lambda: members.get(stranger, member.member_id),
        lambda: members.disable(stranger, member.member_id),
        lambda: members.enable(stranger, member.member_id),
        lambda: members.change_role(stranger, member.member_id, Role.INFERENCE),
    ):
        with pytest.raises(NotFound):
            act()


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.OPERATOR, Role.VIEWER, Role.INFERENCE])
def test_others_do_not_see_members(members: MembersService, role: Role) -> None:
    with pytest.raises(PermissionDenied):
        members.list_members(principal(role))
    with pytest.raises(PermissionDenied):
        members.get(principal(role), "x")
