"""The store of sessions, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelry.adapters.sql.database import Database, open_database
from modelry.domain.access import DEFAULT_TENANT_ID, Member, Role, TenantState
from modelry.domain.errors import Conflict
from modelry.services.signin.ports import MemberSession
from modelry.testing import samples
from modelry.testing.samples import OTHER_TENANT_ID

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        opened = open_database(request.getfixturevalue("postgres_url"))
    else:
        opened = open_database(f"sqlite:///{tmp_path}/modelry.db")
        samples.add_tenants(opened)
    for tenant in (DEFAULT_TENANT_ID, OTHER_TENANT_ID):
        for name in ("ada", "grace"):
            put_member(
                opened, Member(tenant, name, Role.VIEWER, NOW, "test", subject=name, issuer="i")
            )
    yield opened
    opened.close()


def put_member(database: Database, member: Member) -> None:
    database.keys.write(member.tenant_id, lambda records: records.members.put(member))


def session(name: str, tenant: str = DEFAULT_TENANT_ID, member: str = "ada") -> MemberSession:
    token = f"{tenant}/{name}".encode().ljust(32)[:32]
    return MemberSession(
        tenant, name, member, token, NOW, NOW, NOW + timedelta(hours=1), "a browser"
    )


def active(database: Database, now: datetime = NOW, seen_after: datetime = LONG_AGO) -> list[str]:
    found = database.sessions.active(now, seen_after)
    return sorted(f"{one.tenant_id}/{one.session_id}/{who.member_id}" for one, who in found)


def test_sessions_are_kept_seen_and_ended(database: Database) -> None:
    store = database.sessions
    first, second = session("s1"), session("s2", member="grace")
    namesake = session("s1", OTHER_TENANT_ID)
    for one in (first, second, namesake):
        store.add(one)
    assert active(database) == ["default/s1/ada", "default/s2/grace", f"{OTHER_TENANT_ID}/s1/ada"]
    assert store.of_member(DEFAULT_TENANT_ID, "ada") == [first]
    store.note_seen([(DEFAULT_TENANT_ID, "s1", NOW + timedelta(minutes=9)), ("none", "s1", NOW)])
    store.note_seen([(DEFAULT_TENANT_ID, "s1", NOW + timedelta(minutes=3))])
    (seen,) = store.of_member(DEFAULT_TENANT_ID, "ada")
    assert seen.seen_at == NOW + timedelta(minutes=9)
    assert store.of_member(OTHER_TENANT_ID, "ada") == [namesake]
    assert not store.end(DEFAULT_TENANT_ID, "grace", "s1")
    assert not store.end(DEFAULT_TENANT_ID, "ada", "s2")
    assert store.end(DEFAULT_TENANT_ID, "ada", "s1")
    assert not store.end(DEFAULT_TENANT_ID, "ada", "s1")
    assert active(database) == ["default/s2/grace", f"{OTHER_TENANT_ID}/s1/ada"]
    store.add(session("s3", OTHER_TENANT_ID))
    assert store.end_all(OTHER_TENANT_ID, "ada") == 2
    assert store.end_all(OTHER_TENANT_ID, "ada") == 0
    assert active(database) == ["default/s2/grace"]


def test_sessions_of_nobody_are_refused(database: Database) -> None:
    with pytest.raises(Conflict):
        database.sessions.add(session("s1", member="nobody"))


def test_what_has_ended_is_not_active_and_goes(database: Database) -> None:
    database.sessions.add(session("s1"))
    at = NOW + timedelta(hours=1)
    assert active(database, now=at) == []
    assert active(database, seen_after=NOW) == []
    assert database.sessions.forget(NOW, LONG_AGO) == 0
    assert database.sessions.forget(at, LONG_AGO) == 1
    assert database.sessions.of_member(DEFAULT_TENANT_ID, "ada") == []


def test_who_may_not_act_has_no_active_session(database: Database) -> None:
    for one in (session("s1"), session("s2", member="grace"), session("s1", OTHER_TENANT_ID)):
        database.sessions.add(one)
    ada = database.keys.read(DEFAULT_TENANT_ID, lambda records: records.members.find("ada"))
    assert ada is not None
    put_member(database, replace(ada, disabled_at=NOW))
    assert active(database) == ["default/s2/grace", f"{OTHER_TENANT_ID}/s1/ada"]

    def suspend(records):
        records.put_tenant(replace(records.tenant(), state=TenantState.SUSPENDED))

    database.keys.write(OTHER_TENANT_ID, suspend)
    assert active(database) == ["default/s2/grace"]
