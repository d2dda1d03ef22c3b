"""API keys: their shape, who may make and revoke which, and the owner's key."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.access import ROLE_PERMISSIONS, Permission, Principal, Role
from modelry.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from modelry.services.inference.authentication import Authenticator
from modelry.services.tenancy.service import OWNER_KEY_ID, TenancyService
from modelry.services.tenancy.tokens import is_mistyped, make_key_id, make_token
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, principal

GIVEN = "an-owner-key.that_is~long-enough-0123"


# ---- tokens -----------------------------------------------------------------------------------


def test_a_token_has_its_shape() -> None:
    key_id = make_key_id()
    token = make_token("live", key_id)
    assert token.startswith(f"mlry_live_{key_id}_")
    assert len(token) == len(f"mlry_live_{key_id}_") + 43 + 6
    assert not is_mistyped(token)
    assert token.replace("_", "").isalnum()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mistyped_token_is_seen(data: st.DataObject) -> None:
    token = make_token("live", make_key_id())
    position = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("aB9x_"))
    changed = token[:position] + letter + token[position + 1 :]
    if changed != token and changed.startswith("mlry_"):
        assert is_mistyped(changed)
    assert is_mistyped(token[: max(5, position)])


def test_other_keys_are_not_ours_to_judge() -> None:
    assert not is_mistyped(GIVEN)
    assert not is_mistyped("")


# ---- the owner's key --------------------------------------------------------------------------


def test_the_owner_key_is_made_once(tenancy: TenancyService) -> None:
    minted = tenancy.ensure_owner_key()
    assert minted is not None
    assert minted.key.key_id == OWNER_KEY_ID
    assert tenancy.verify(minted.token).role is Role.OWNER
    assert tenancy.ensure_owner_key() is None
    assert tenancy.verify(minted.token).key_id == OWNER_KEY_ID


def test_a_given_owner_key_replaces_the_one_before(tenancy: TenancyService) -> None:
    made = tenancy.ensure_owner_key()
    assert made is not None
    assert tenancy.ensure_owner_key(GIVEN) is not None
    assert tenancy.ensure_owner_key(GIVEN) is None
    assert tenancy.verify(GIVEN).key_id == OWNER_KEY_ID
    with pytest.raises(Unauthenticated):
        tenancy.verify(made.token)
    changed = GIVEN[::-1]
    tenancy.ensure_owner_key(changed)
    assert tenancy.verify(changed).role is Role.OWNER
    with pytest.raises(Unauthenticated):
        tenancy.verify(GIVEN)
    assert tenancy.ensure_owner_key() is None, "without a given one, the last one stays"


@pytest.mark.parametrize("given_key", ["", "short", "a" * 31, "a" * 257, "ä" * 40, "a b" * 20])
def test_an_unfit_owner_key_is_refused(tenancy: TenancyService, given_key: str) -> None:
    with pytest.raises(InvalidInput) as told:
        tenancy.ensure_owner_key(given_key)
    assert told.value.param == "owner_key"
    assert not given_key or given_key not in told.value.message


def test_a_given_owner_key_may_look_like_one_of_ours(tenancy: TenancyService) -> None:
    token = "mlry_" + "x" * 40
    tenancy.ensure_owner_key(token)
    assert tenancy.verify(token).role is Role.OWNER


def test_another_key_cannot_become_the_owner_key(tenancy: TenancyService, owner: Principal) -> None:
    minted = tenancy.create(owner, name="ci", role=Role.INFERENCE)
    with pytest.raises(Conflict):
        tenancy.ensure_owner_key(minted.token)
    assert tenancy.verify(minted.token).role is Role.INFERENCE


def test_a_lost_pepper_makes_a_new_owner_key(
    database: MemoryDatabase, tenancy: TenancyService, clock
) -> None:
    old = tenancy.ensure_owner_key()
    assert old is not None
    restarted = TenancyService(database.keys, b"q" * 32, clock=clock)
    assert restarted.is_pepper_lost()
    new = restarted.ensure_owner_key()
    assert new is not None
    assert restarted.verify(new.token).role is Role.OWNER
    assert not restarted.is_pepper_lost()
    with pytest.raises(Unauthenticated):
        restarted.verify(old.token)
    assert restarted.ensure_owner_key() is None


def test_secrets_are_not_kept(
    database: MemoryDatabase, tenancy: TenancyService, owner: Principal
) -> None:
    minted = tenancy.create(owner, name="ci", role=Role.VIEWER)
    assert minted.token.split("_")[-1] not in repr(database.states())
    assert minted.token not in repr(database.settings)


# ---- making keys ------------------------------------------------------------------------------


def test_a_key_works_until_it_is_revoked(tenancy: TenancyService, owner: Principal) -> None:
    minted = tenancy.create(owner, name="ci", role=Role.DEVELOPER)
    caller = tenancy.verify(minted.token)
    assert caller.permissions == ROLE_PERMISSIONS[Role.DEVELOPER]
    assert [one.key_id for one in tenancy.list_keys(owner)] == [
        *sorted([OWNER_KEY_ID, minted.key.key_id])
    ]
    revoked = tenancy.revoke(owner, minted.key.key_id)
    assert revoked.revoked_at == NOW
    assert tenancy.revoke(owner, minted.key.key_id) == revoked
    with pytest.raises(Unauthenticated):
        tenancy.verify(minted.token)


def test_a_key_ends_when_it_expires(tenancy: TenancyService, owner: Principal, clock) -> None:
    minted = tenancy.create(
        owner, name="ci", role=Role.VIEWER, expires_at=NOW + timedelta(seconds=5)
    )
    assert minted.key.secret_hmac in tenancy.snapshot().keys
    clock.now += timedelta(seconds=5)
    assert minted.key.secret_hmac not in tenancy.snapshot().keys
    with pytest.raises(Unauthenticated):
        tenancy.verify(minted.token)


@pytest.mark.parametrize("token", ["", "x", "mlry_live_0_x", "\udcff" * 40, "ü" * 1000])
def test_an_unknown_token_is_refused(tenancy: TenancyService, token: str) -> None:
    with pytest.raises(Unauthenticated):
        tenancy.verify(token)


@pytest.mark.parametrize("own", list(Role))
@pytest.mark.parametrize("wanted", list(Role))
def test_a_key_makes_no_more_than_itself(
    tenancy: TenancyService, owner: Principal, own: Role, wanted: Role
) -> None:
    caller = tenancy.create(owner, name="own", role=own).key.principal()
    is_allowed = (
        Permission.KEYS_WRITE in caller.permissions
        and ROLE_PERMISSIONS[wanted] <= caller.permissions
        and (wanted is not Role.OWNER or own is Role.OWNER)
    )
    before = len(tenancy.list_keys(owner))
    if is_allowed:
        tenancy.create(caller, name="new", role=wanted)
    else:
        with pytest.raises(PermissionDenied):
            tenancy.create(caller, name="new", role=wanted)
    assert len(tenancy.list_keys(owner)) == before + is_allowed


def test_a_limited_key_makes_limited_keys(tenancy: TenancyService, owner: Principal) -> None:
    limited = replace(owner, deployments=frozenset({"a", "b"}))
    with pytest.raises(PermissionDenied, match="a, b"):
        tenancy.create(limited, name="new", role=Role.INFERENCE)
    with pytest.raises(PermissionDenied):
        tenancy.create(limited, name="new", role=Role.INFERENCE, deployments=["a", "c"])
    minted = tenancy.create(limited, name="new", role=Role.INFERENCE, deployments=["a"])
    assert tenancy.verify(minted.token).deployments == {"a"}


def test_a_key_that_ends_makes_keys_that_end(tenancy: TenancyService, owner: Principal) -> None:
    soon = NOW + timedelta(hours=1)
    ending = tenancy.create(owner, name="own", role=Role.ADMIN, expires_at=soon).key.principal()
    for expires_at in (None, soon + timedelta(seconds=1)):
        with pytest.raises(PermissionDenied, match="expire"):
            tenancy.create(ending, name="new", role=Role.VIEWER, expires_at=expires_at)
    tenancy.create(ending, name="new", role=Role.VIEWER, expires_at=soon)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\nb", "a\x00b"])
def test_an_unfit_name_is_refused(tenancy: TenancyService, owner: Principal, name: str) -> None:
    with pytest.raises(InvalidInput) as told:
        tenancy.create(owner, name=name, role=Role.VIEWER)
    assert told.value.param == "name"


def test_an_unfit_time_or_deployment_is_refused(tenancy: TenancyService, owner: Principal) -> None:
    for expires_at in (NOW, NOW - timedelta(1), (NOW + timedelta(1)).replace(tzinfo=None)):
        with pytest.raises(InvalidInput):
            tenancy.create(owner, name="x", role=Role.VIEWER, expires_at=expires_at)
    with pytest.raises(InvalidInput):
        tenancy.create(owner, name="x", role=Role.VIEWER, deployments=["../etc"])
    elsewhere = (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5)))
    tenancy.create(owner, name="x", role=Role.VIEWER, expires_at=elsewhere)


# ---- scopes -----------------------------------------------------------------------------------


def test_a_key_may_do_what_role_and_scopes_both_allow(
    tenancy: TenancyService, owner: Principal
) -> None:
    wanted = {Permission.MODELS_READ, Permission.INFERENCE}
    minted = tenancy.create(owner, name="k", role=Role.DEVELOPER, scopes=wanted)
    assert tenancy.verify(minted.token).permissions == wanted
    for scopes in ([], [Permission.KEYS_WRITE], [Permission.PUBLIC]):
        with pytest.raises(InvalidInput) as told:
            tenancy.create(owner, name="k", role=Role.DEVELOPER, scopes=scopes)
        assert told.value.param == "scopes"


def test_a_key_with_scopes_makes_keys_with_some_of_them(
    tenancy: TenancyService, owner: Principal
) -> None:
    """Also where the role has no more: what it may do can grow with an upgrade."""
    own = ROLE_PERMISSIONS[Role.INFERENCE] | {Permission.KEYS_WRITE}
    caller = tenancy.create(owner, name="own", role=Role.OWNER, scopes=own).key.principal()
    with pytest.raises(PermissionDenied, match="Give 'scopes'"):
        tenancy.create(caller, name="new", role=Role.INFERENCE)
    with pytest.raises(PermissionDenied):
        tenancy.create(caller, name="new", role=Role.VIEWER, scopes=[Permission.MODELS_READ])
    made = tenancy.create(caller, name="new", role=Role.INFERENCE, scopes=[Permission.INFERENCE])
    assert tenancy.verify(made.token).permissions == {Permission.INFERENCE}


# ---- rotating and renaming keys ---------------------------------------------------------------


def test_the_secret_before_is_valid_until_the_overlap_ends(
    tenancy: TenancyService, owner: Principal, clock
) -> None:
    first = tenancy.create(owner, name="k", role=Role.DEVELOPER)
    authenticator = Authenticator(tenancy)
    tenancy.on_change(authenticator.refresh)
    second = tenancy.rotate(owner, first.key.key_id, timedelta(hours=1))
    assert (second.key.key_id, second.key.role) == (first.key.key_id, Role.DEVELOPER)
    for minted in (first, second):
        assert tenancy.verify(minted.token).key_id == first.key.key_id
        assert minted.key.secret_hmac in tenancy.snapshot().keys
    assert authenticator.principal(second.token).key_id == first.key.key_id
    clock.now += timedelta(hours=1)
    assert tenancy.verify(second.token)
    assert set(tenancy.snapshot().keys) & {first.key.secret_hmac, second.key.secret_hmac} == {
        second.key.secret_hmac
    }
    with pytest.raises(Unauthenticated):
        tenancy.verify(first.token)


def test_a_rotated_key_ends_as_a_whole(tenancy: TenancyService, owner: Principal, clock) -> None:
    soon = NOW + timedelta(minutes=1)
    first = tenancy.create(owner, name="k", role=Role.VIEWER, expires_at=soon)
    second = tenancy.rotate(owner, first.key.key_id, timedelta(hours=1))
    third = tenancy.rotate(owner, first.key.key_id, timedelta(hours=1))
    with pytest.raises(Unauthenticated):
        tenancy.verify(first.token)  # one secret before, not two
    clock.now = soon
    for minted in (second, third):
        with pytest.raises(Unauthenticated):
            tenancy.verify(minted.token)
    with pytest.raises(Conflict):
        tenancy.rotate(owner, first.key.key_id)
    fourth = tenancy.create(owner, name="k", role=Role.VIEWER)
    fifth = tenancy.rotate(owner, fourth.key.key_id, timedelta(hours=1))
    tenancy.revoke(owner, fourth.key.key_id)
    for minted in (fourth, fifth):
        with pytest.raises(Unauthenticated):
            tenancy.verify(minted.token)


def test_without_overlap_the_secret_before_ends_at_once(
    tenancy: TenancyService, owner: Principal
) -> None:
    first = tenancy.create(owner, name="k", role=Role.VIEWER)
    second = tenancy.rotate(owner, first.key.key_id)
    with pytest.raises(Unauthenticated):
        tenancy.verify(first.token)
    assert tenancy.verify(second.token).role is Role.VIEWER
    for overlap in (timedelta(seconds=-1), timedelta(days=91)):
        with pytest.raises(InvalidInput):
            tenancy.rotate(owner, first.key.key_id, overlap)


def test_whoever_rotates_a_key_is_told_no_more_than_it_may_do(
    tenancy: TenancyService, owner: Principal
) -> None:
    soon = NOW + timedelta(hours=1)
    own = tenancy.create(owner, name="own", role=Role.ADMIN, expires_at=soon, deployments=["a"]).key
    for key in (
        tenancy.create(owner, name="k", role=Role.OWNER).key,
        tenancy.create(owner, name="k", role=Role.INFERENCE, expires_at=soon).key,
        tenancy.create(owner, name="k", role=Role.INFERENCE, deployments=["a"]).key,
    ):
        with pytest.raises(PermissionDenied):
            tenancy.rotate(own.principal(), key.key_id)
    assert tenancy.rotate(own.principal(), own.key_id).key.key_id == own.key_id


def test_a_given_owner_key_is_not_rotated_but_given_anew(tenancy: TenancyService) -> None:
    made = tenancy.ensure_owner_key()
    assert made is not None
    rotated = tenancy.rotate(made.key.principal(), OWNER_KEY_ID)
    assert tenancy.verify(rotated.token).role is Role.OWNER
    tenancy.ensure_owner_key(GIVEN)
    with pytest.raises(Conflict, match="MODELRY_OWNER_KEY"):
        tenancy.rotate(made.key.principal(), OWNER_KEY_ID)


def test_a_key_is_renamed_by_who_could_have_made_it(
    tenancy: TenancyService, owner: Principal
) -> None:
    key = tenancy.create(owner, name="k", role=Role.OWNER).key
    assert tenancy.rename(owner, key.key_id, "other").name == "other"
    assert tenancy.get(owner, key.key_id).name == "other"
    admin = tenancy.create(owner, name="admin", role=Role.ADMIN).key.principal()
    with pytest.raises(PermissionDenied):
        tenancy.rename(admin, key.key_id, "mine")
    with pytest.raises(InvalidInput):
        tenancy.rename(owner, key.key_id, "a\nb")
    with pytest.raises(NotFound):
        tenancy.rename(principal(Role.OWNER, OTHER_TENANT_ID), key.key_id, "mine")


def test_the_last_use_is_kept_when_it_is_noted(
    tenancy: TenancyService, owner: Principal, clock
) -> None:
    minted = tenancy.create(owner, name="k", role=Role.VIEWER)
    authenticator = Authenticator(tenancy)
    with pytest.raises(Unauthenticated):
        authenticator.principal("unknown")
    assert authenticator.take_used() == set()
    authenticator.principal(minted.token)
    authenticator.principal(minted.token)
    used = authenticator.take_used()
    assert used == {("default", minted.key.key_id)}
    assert authenticator.take_used() == set()
    clock.now += timedelta(seconds=9)
    before = tenancy.generation
    tenancy.note_used(used | {("gone", "k"), ("default", "gone")})
    assert tenancy.get(owner, minted.key.key_id).last_used_at == clock.now
    assert tenancy.generation == before, "nobody has to look for a change of rights"


# ---- revoking keys ----------------------------------------------------------------------------


def test_the_last_owner_key_stays(tenancy: TenancyService, owner: Principal, clock) -> None:
    with pytest.raises(Conflict, match="last owner"):
        tenancy.revoke(owner, OWNER_KEY_ID)
    tenancy.create(owner, name="second", role=Role.OWNER, expires_at=NOW + timedelta(seconds=1))
    clock.now += timedelta(seconds=1)
    with pytest.raises(Conflict, match="last owner"):
        tenancy.revoke(owner, OWNER_KEY_ID)
    tenancy.create(owner, name="third", role=Role.OWNER)
    tenancy.revoke(owner, OWNER_KEY_ID)


def test_an_admin_cannot_revoke_an_owner(tenancy: TenancyService, owner: Principal) -> None:
    second = tenancy.create(owner, name="second", role=Role.OWNER)
    admin = tenancy.create(owner, name="admin", role=Role.ADMIN).key.principal()
    with pytest.raises(PermissionDenied):
        tenancy.revoke(admin, second.key.key_id)


def test_keys_of_others_are_not_there(tenancy: TenancyService, owner: Principal) -> None:
    stranger = principal(Role.OWNER, OTHER_TENANT_ID)
    minted = tenancy.create(owner, name="ci", role=Role.VIEWER)
    assert tenancy.list_keys(stranger) == []
    with pytest.raises(NotFound):
        tenancy.revoke(stranger, minted.key.key_id)
    with pytest.raises(NotFound):
        tenancy.revoke(owner, "../nobody")


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.OPERATOR, Role.VIEWER, Role.INFERENCE])
def test_others_do_not_see_keys(tenancy: TenancyService, role: Role) -> None:
    with pytest.raises(PermissionDenied):
        tenancy.list_keys(principal(role))
    with pytest.raises(PermissionDenied):
        tenancy.revoke(principal(role), "x")


# ---- learning of changes ----------------------------------------------------------------------


def test_changes_are_told_after_they_are_kept(tenancy: TenancyService, owner: Principal) -> None:
    authenticator = Authenticator(tenancy)
    tenancy.on_change(authenticator.refresh)
    before = tenancy.generation
    minted = tenancy.create(owner, name="ci", role=Role.VIEWER)
    assert authenticator.principal(minted.token).key_id == minted.key.key_id
    tenancy.revoke(owner, minted.key.key_id)
    with pytest.raises(Unauthenticated):
        authenticator.principal(minted.token)
    assert tenancy.generation == before + 2


def test_every_change_leaves_word_for_other_servers(
    database: MemoryDatabase, tenancy: TenancyService, owner: Principal
) -> None:
    other = TenancyService(database.keys, b"p" * 32)
    stamps = [other.stamp()]
    key = tenancy.create(owner, name="k", role=Role.VIEWER).key
    stamps.append(other.stamp())
    tenancy.rotate(owner, key.key_id)
    stamps.append(other.stamp())
    tenancy.note_used([("default", key.key_id)])
    assert other.stamp() == stamps[-1], "the last use changes nobody's rights"
    tenancy.revoke(owner, key.key_id)
    stamps.append(other.stamp())
    assert len(set(stamps)) == 4
