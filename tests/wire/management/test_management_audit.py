"""What routes do is in the audit log; what cannot be entered is not done."""

from typing import Any

import pytest
from tests.support.management import OTHER, Installation
from tests.wire.management.test_management_permissions import ask, operations, things

from modelry.adapters.sql.row_security import enter_system
from modelry.domain.access import DEFAULT_TENANT_ID, Role
from modelry.domain.errors import Overloaded
from modelry.protocols.management import PREFIX
from modelry.services.audit.ports import AuditFilter
from modelry.testing.samples import principal

pytestmark = pytest.mark.anyio

LAST = AuditFilter()


def entries(server: Installation, tenant: str = DEFAULT_TENANT_ID) -> list[Any]:
    return list(server.database.audit.entries(tenant, LAST, limit=1000))


async def test_every_unsafe_route_yields_an_intent_and_an_outcome(server):
    named = await things(server)
    tried = 0
    for method, path, _ in operations(server):
        if method == "get":
            continue
        before = len(entries(server))
        answer = await ask(server, Role.OWNER, method, path, named)
        found = entries(server)[before:]
        assert len(found) == 2, (method, path, found)
        intent, outcome = found
        assert intent.outcome == "intent"
        expected = "ok" if answer.is_success else answer.json()["error"]["code"]
        assert outcome.outcome == expected, (method, path)
        for entry in found:
            assert entry.resource == path.format(**named)
            assert entry.detail["request_id"] == answer.headers["x-request-id"]
            assert entry.action.count(".") == 1
        tried += 1
    assert tried > 15
    assert server.audit.verify_tenant(DEFAULT_TENANT_ID).is_sound


async def test_without_audit_log_nothing_is_changed(server, monkeypatch):
    named = await things(server)

    def full(*_: object) -> None:
        raise Overloaded("The disk is full at /secret/place.")

    monkeypatch.setattr(server.database.audit, "append", full)
    for method, path, _ in operations(server):
        if method == "get":
            continue
        answer = await ask(server, Role.OWNER, method, path, named)
        assert answer.status_code == 503, (method, path)
        assert answer.json()["error"]["code"] == "audit_unavailable"
        assert "/secret/place" not in answer.text
        assert answer.headers["retry-after"]
    async with server.client() as owner:
        assert (await owner.get("/models/adder")).json()["latest_version"] == 2
        assert (await owner.get("/deployments/live")).status_code == 200
        keys = (await owner.get("/keys")).json()["keys"]
        assert all(key["revoked_at"] is None for key in keys)


async def test_reading_what_others_wrote_is_entered(server):
    document = server.app.openapi()
    marked = [
        path.removeprefix(PREFIX)
        for path, methods in document["paths"].items()
        if methods.get("get", {}).get("x-audited")
    ]
    assert {"/deployments/{name}/logs", "/audit/export"} <= set(marked)
    named = await things(server)
    for path in marked:
        before = len(entries(server))
        answer = await ask(server, Role.OWNER, "get", path, named)
        assert answer.status_code == 200, path
        assert [one.outcome for one in entries(server)[before:]] == ["intent", "ok"], path


async def test_other_reading_is_not_entered(server, owner):
    before = len(entries(server))
    for path in ("/models", "/keys", "/whoami", "/audit/entries"):
        assert (await owner.get(path)).status_code == 200
    assert len(entries(server)) == before


async def test_a_refused_caller_is_entered_once_and_counted(server):
    async with server.client(Role.VIEWER) as viewer:
        for _ in range(20):
            assert (await viewer.post("/keys", json={"name": "x"})).status_code == 403
    found = [one for one in entries(server) if one.outcome == "permission_denied"]
    assert len(found) == 1
    assert found[0].action == "keys.create_key"
    assert found[0].resource == "/keys"


async def test_a_revoked_key_and_one_of_a_suspended_tenant_are_entered(server, owner):
    key_id = (await owner.post("/keys", json={"name": "k", "role": "viewer"})).json()
    await owner.delete(f"/keys/{key_id['key']['key_id']}")
    await owner.post("/tenants/other/suspend")
    server.tokens["revoked"] = key_id["token"]
    for who in ("revoked", OTHER, "nobody"):
        async with server.client(who) as caller:
            for _ in range(3):
                assert (await caller.get("/models")).status_code in (401, 403)
    (refused,) = [one for one in entries(server) if one.outcome == "unauthenticated"]
    assert (refused.actor, refused.action) == (key_id["key"]["key_id"], "models.list_models")
    assert len([one for one in entries(server, "other") if one.outcome == "tenant_suspended"]) == 1


async def test_what_the_platform_does_to_a_tenant_is_in_both_chains(server, owner):
    assert (await owner.post("/tenants/other/suspend")).status_code == 200
    assert (await owner.post("/tenants/nobody/suspend")).status_code == 404
    for tenant, actor in ((DEFAULT_TENANT_ID, principal().key_id), ("other", None)):
        found = [one for one in entries(server, tenant) if one.resource == "/tenants/other/suspend"]
        assert [one.outcome for one in found] == ["intent", "ok"], tenant
        assert found[0].actor.startswith("" if actor else f"{DEFAULT_TENANT_ID}/")
    assert server.audit.verify_tenant("other").is_sound


async def test_entries_hold_neither_secrets_nor_bodies(server, owner):
    secret = "CANARY-4711"
    made = await owner.post("/keys", json={"name": "named", "role": "viewer"})
    await owner.post("/keys", json={"name": "named", "role": secret, secret: secret})
    await owner.post(
        "/pulls", json={"source": f"https://user:{secret}@127.0.0.1/m.onnx", "name": "x"}
    )
    await owner.post("/versions", json={"manifest": f"name: {secret}"})
    known = made.json()["token"]
    for key in (known, known[:-1] + "x", f"mlry_live_abcd1234_{'k' * 43}"):
        await owner.delete(f"/keys/{key}")
        await owner.put(f"/deployments/{key}", json={})
        async with server.client(Role.VIEWER) as viewer:
            await viewer.delete(f"/keys/{key}")
        assert key not in "".join(f"{one}" for one in entries(server))
    told = "".join(f"{one}" for one in entries(server))
    assert secret not in told
    assert made.json()["token"] not in told
    for token in server.tokens.values():
        assert token not in told
    created = next(one for one in entries(server) if "key_id" in one.detail)
    assert created.detail["key_id"] == made.json()["key"]["key_id"]


async def test_an_own_tenant_sees_its_own_chain_only(server):
    await things(server)
    async with server.client(OTHER) as stranger:
        assert (await stranger.get("/audit/entries")).json() == {"entries": [], "next": None}
        assert (await stranger.get("/audit/export")).text.count("\n") == 1
        head = (await stranger.get("/audit/head")).json()["head"]
        assert head["tenant_id"] == "other"
    async with server.client() as owner:
        answer = await owner.post("/audit/verify", json={"heads": [head]})
        assert answer.status_code == 400


async def test_pages_filters_and_export(server, owner):
    await things(server)
    everything = [one.sequence for one in entries(server) if one.action.startswith("deployments.")]
    seen: list[int] = []
    before: dict[str, Any] = {}
    while True:
        page = await owner.get(
            "/audit/entries", params={"action": "deployments.*", "limit": 1, **before}
        )
        seen += [one["sequence"] for one in page.json()["entries"]]
        if page.json()["next"] is None:
            break
        before = {"before": page.json()["next"]}
    assert sorted(seen) == everything
    assert seen == sorted(seen, reverse=True)
    lines = (await owner.get("/audit/export", params={"action": "deployments.*"})).text.splitlines()
    assert len(lines) == len(everything)
    old = {"since": "2030-01-01T00:00:00Z", "until": "2020-01-01T00:00:00Z"}
    assert (await owner.get("/audit/entries", params=old)).status_code == 400


async def test_verify_tells_where_the_chain_breaks(server, owner):
    await things(server)
    head = (await owner.get("/audit/head")).json()["head"]
    body = {"heads": [head]}
    sound = (await owner.post("/audit/verify", json=body)).json()
    assert sound["sound"] is True
    assert sound["heads"] == 2
    engine = server.database.audit._transactions._engine
    with engine.begin() as connection:
        enter_system(connection, "do harm")
        connection.exec_driver_sql("UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 3")
    broken = (await owner.post("/audit/verify", json=body)).json()
    assert broken["sound"] is False
    assert [(one["kind"], one["sequence"]) for one in broken["breaks"]] == [("changed", 3)]
