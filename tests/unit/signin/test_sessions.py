"""Sessions end when they shall, whoever holds their token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.management import make_database

from modelry.adapters.sql.database import Database, open_database
from modelry.domain.access import DEFAULT_TENANT_ID, Member, Role, TenantState
from modelry.domain.errors import InvalidInput, NotFound, PermissionDenied, Unauthenticated
from modelry.services.signin.redirects import local_path
from modelry.services.signin.sessions import MAX_SESSIONS, SessionsService
from modelry.testing.samples import OTHER_TENANT_ID, principal

LIFETIME, IDLE = timedelta(hours=12), timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path: Path = make_database(tmp_path_factory.mktemp("sessions"))
    opened = open_database(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(database: Database, clock: Clock) -> SessionsService:
    return SessionsService(database.sessions, b"s" * 32, clock=clock)


@pytest.fixture
def member(database: Database, request: pytest.FixtureRequest, clock: Clock) -> Member:
    return _member(database, request.node.name[:40], clock)


def _member(database: Database, name: str, clock: Clock, tenant: str = DEFAULT_TENANT_ID) -> Member:
    made = Member(
        tenant, f"m-{name}", Role.VIEWER, clock.now, "test", issuer="https://i", subject=name
    )
    database.keys.write(tenant, lambda records: records.members.put(made))
    return made


def ends(sessions: SessionsService, token: str) -> None:
    with pytest.raises(Unauthenticated):
        sessions.admit(token, None, is_unsafe=False)


def test_a_session_ends_when_it_is_not_used(sessions, member, clock):
    token = sessions.open(member).token
    for _ in range(5):
        clock.now += IDLE - timedelta(seconds=1)
        assert sessions.admit(token, None, is_unsafe=False).key_id == f"user:{member.member_id}"
        sessions.refresh()
    clock.now += IDLE
    ends(sessions, token)
    sessions.refresh()
    ends(sessions, token)


def test_a_session_ends_however_much_it_is_used(sessions, member, clock):
    token = sessions.open(member).token
    opened = clock.now
    while clock.now + timedelta(minutes=30) < opened + LIFETIME:
        clock.now += timedelta(minutes=30)
        sessions.admit(token, None, is_unsafe=False)
        sessions.refresh()
    clock.now = opened + LIFETIME
    ends(sessions, token)


def test_use_is_remembered_over_a_restart_and_by_others(sessions, member, clock, database):
    token = sessions.open(member).token
    clock.now += timedelta(minutes=50)
    sessions.admit(token, None, is_unsafe=False)
    sessions.refresh()
    clock.now += timedelta(minutes=50)
    other = SessionsService(database.sessions, b"s" * 32, clock=clock)
    other.refresh()
    assert other.admit(token, None, is_unsafe=False)


def test_the_database_opens_no_session(sessions, member, database, clock):
    opened = sessions.open(member)
    (kept,) = database.sessions.of_member(member.tenant_id, member.member_id)
    assert opened.token.encode() not in repr(kept).encode()
    for stolen in (
        kept.token_hmac.hex(),
        kept.session_id,
        opened.token[:-1],
        opened.token + "A",
        "",
    ):
        ends(sessions, stolen)
    thief = SessionsService(database.sessions, b"t" * 32, clock=clock)
    thief.refresh()
    ends(thief, opened.token)


def test_unsafe_requests_need_the_token_of_their_own_session(sessions, member):
    first, second = sessions.open(member).token, sessions.open(member).token
    for csrf in (None, "", "é", "\ud800", first, sessions.csrf_token(second)):
        with pytest.raises(PermissionDenied):
            sessions.admit(first, csrf, is_unsafe=True)
    assert sessions.admit(first, sessions.csrf_token(first), is_unsafe=True)


def test_disabled_members_and_suspended_tenants_are_out(sessions, member, database, clock):
    token = sessions.open(member).token
    gone = replace(member, disabled_at=clock.now)
    database.keys.write(member.tenant_id, lambda records: records.members.put(gone))
    sessions.refresh()
    ends(sessions, token)
    foreign = _member(database, "foreign", clock, OTHER_TENANT_ID)
    token = sessions.open(foreign).token
    assert sessions.admit(token, None, is_unsafe=False).tenant_id == OTHER_TENANT_ID

    def suspend(records):
        records.put_tenant(replace(records.tenant(), state=TenantState.SUSPENDED))

    database.keys.write(OTHER_TENANT_ID, suspend)
    sessions.refresh()
    ends(sessions, token)


def test_nobody_ends_the_sessions_of_others(sessions, member, database, clock):
    opened = sessions.open(member)
    same_tenant = _member(database, "same tenant", clock)
    namesake = _member(database, "namesake", clock, OTHER_TENANT_ID)
    for other in (same_tenant, namesake):
        with pytest.raises(NotFound):
            sessions.end_own(other.principal(), opened.session.session_id)
        assert sessions.end_all_own(other.principal()) == 0
    with pytest.raises(NotFound):
        sessions.end_all_own(principal())
    assert sessions.admit(opened.token, None, is_unsafe=False)


def test_a_member_has_a_bounded_number_of_sessions(sessions, member, clock):
    tokens = []
    for _ in range(MAX_SESSIONS + 3):
        clock.now += timedelta(seconds=1)
        tokens.append(sessions.open(member).token)
    assert len(sessions.list_own(member.principal())) == MAX_SESSIONS
    for token in tokens[:3]:
        ends(sessions, token)
    assert sessions.admit(tokens[-1], None, is_unsafe=False)


def test_what_has_ended_is_forgotten(sessions, member, clock, database):
    sessions.open(member)
    clock.now += LIFETIME
    assert sessions.sweep() >= 1
    assert database.sessions.of_member(member.tenant_id, member.member_id) == []


@pytest.mark.parametrize("path", ["/", "/docs", "/a/b?c=d&e=%2F#f", None])
def test_paths_of_this_server_are_gone_on_to(path):
    assert local_path(path) == (path or "/docs")


@pytest.mark.parametrize(
    "path",
    [
        "//a",
        "/\\a",
        "\\a",
        "a",
        "",
        "http://a",
        "/ a",
        "/\n",
        "/a\n",
        "/é",
        "/a\\b",
        "/\t/a",
        "/" * 2,
    ],
)
def test_other_paths_are_not(path):
    with pytest.raises(InvalidInput):
        local_path(path)
