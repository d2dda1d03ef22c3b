"""API keys, who the caller is, and what was used."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from tests.support.usage import note

from modelry.domain.access import ROLE_PERMISSIONS, Role
from modelry.protocols.management import PREFIX
from modelry.services.inference.metering import Meter

pytestmark = pytest.mark.anyio


def with_token(server, token):
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(server.asgi),
        base_url=f"http://modelry.test{PREFIX}",
        headers={"authorization": f"Bearer {token}"},
    )


async def mint(client, **body):
    answer = await client.post("/keys", json={"name": "k", "role": "viewer"} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_key_works_until_it_is_revoked(server, owner):
    minted = await mint(owner, name="CI", role="developer")
    key_id = minted["key"]["key_id"]
    async with with_token(server, minted["token"]) as client:
        assert (await client.get("/whoami")).json() == {
            "tenant_id": "default",
            "key_id": key_id,
            "role": "developer",
            "permissions": sorted(ROLE_PERMISSIONS[Role.DEVELOPER]),
            "deployments": [],
        }
        assert (await owner.delete(f"/keys/{key_id}")).status_code == 204
        assert (await client.get("/whoami")).status_code == 401
    (listed,) = [
        one for one in (await owner.get("/keys")).json()["keys"] if one["key_id"] == key_id
    ]
    assert listed["revoked_at"] is not None
    assert (await owner.delete(f"/keys/{key_id}")).status_code == 204


async def test_a_token_is_shown_once(server, owner):
    minted = await mint(owner)
    listed = await owner.get("/keys")
    assert minted["token"] not in listed.text
    assert "hmac" not in listed.text


async def test_a_key_expires(server, owner):
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    minted = await mint(owner, expires_at=soon.isoformat())
    async with with_token(server, minted["token"]) as client:
        answer = await client.get("/whoami")
        while answer.status_code == 200 and datetime.now(UTC) < soon + timedelta(seconds=5):
            answer = await client.get("/whoami")
        assert answer.status_code == 401
        assert datetime.now(UTC) >= soon


async def test_a_key_makes_no_more_than_itself(server, owner):
    async with server.client("admin") as admin:
        refused = await admin.post("/keys", json={"name": "k", "role": "owner"})
        assert refused.status_code == 403
        revoked = await admin.delete(f"/keys/{(await owner.get('/whoami')).json()['key_id']}")
        assert revoked.status_code == 403
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    limited = await mint(owner, role="admin", expires_at=until, deployments=["b", "a"])
    assert limited["key"]["deployments"] == ["a", "b"]
    async with with_token(server, limited["token"]) as client:
        for body, status in (
            ({}, 403),
            ({"expires_at": until}, 403),
            ({"expires_at": until, "deployments": ["c"]}, 403),
            ({"deployments": ["a"]}, 403),
            ({"expires_at": until, "deployments": ["a"]}, 201),
        ):
            answer = await client.post("/keys", json={"name": "k", "role": "viewer"} | body)
            assert answer.status_code == status, body


async def test_a_key_for_some_deployments_manages_no_others(server, owner):
    await server.register(owner)
    for name in ("mine", "theirs"):
        await owner.put(f"/deployments/{name}", json={"model": "adder"})
    limited = await mint(owner, role="operator", deployments=["mine", "new"])
    async with with_token(server, limited["token"]) as client:
        assert [
            one["name"] for one in (await client.get("/deployments")).json()["deployments"]
        ] == ["mine"]
        assert (await client.get("/status")).json()["deployments"]["total"] == 1
        for method, path in (
            ("GET", ""),
            ("GET", "/logs"),
            ("GET", "/replicas"),
            ("POST", "/unload"),
            ("DELETE", ""),
        ):
            refused = await client.request(method, f"/deployments/theirs{path}")
            assert refused.status_code == 404, (method, path)
        body = {"model": "adder"}
        assert (await client.put("/deployments/theirs", json=body)).status_code == 403
        assert (await client.put("/deployments/new", json=body)).status_code == 200
    assert (await owner.get("/deployments/theirs")).status_code == 200


async def test_the_last_owner_stays(server, owner):
    me = (await owner.get("/whoami")).json()["key_id"]
    answer = await owner.delete(f"/keys/{me}")
    assert answer.status_code == 409
    assert "last owner" in answer.json()["error"]["message"]


async def test_wrong_keys(owner):
    for body, param in (
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": None}, "name"),
        ({"role": "king"}, "role"),
        ({"role": ["owner"]}, "role"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": 10**15}, "expires_at"),
        ({"expires_at": -(10**30)}, "expires_at"),
        ({"deployments": ["A"]}, "deployments[0]"),
        ({"deployments": "a"}, "deployments"),
        ({"deployments": ["a"] * 1001}, "deployments"),
        ({"tenant_id": "other"}, "tenant_id"),
    ):
        answer = await owner.post("/keys", json={"name": "k", "role": "viewer"} | body)
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"]["param"] == param, body
    assert (await owner.delete("/keys/none")).status_code == 404


async def test_usage(server, owner):
    meter = Meter()
    for key_id, status in (("a", "ok"), ("a", "ok"), ("b", "overloaded")):
        note(meter, key_id=key_id, status=status)
    server.usage.ledger.add(meter.take())
    (total,) = (await owner.get("/usage")).json()["usage"]
    assert total["group"] == {}
    assert total["units"].pop("duration_us") == pytest.approx(750_000, abs=3)
    assert total["units"] == {"images": 6, "requests": 3, "engine_us": 210}
    grouped = await owner.get("/usage?group_by=key_id&group_by=status")
    assert [(one["group"], one["units"]["requests"]) for one in grouped.json()["usage"]] == [
        ({"key_id": "a", "status": "ok"}, 2),
        ({"key_id": "b", "status": "overloaded"}, 1),
    ]
    async with server.client("other") as stranger:
        assert (await stranger.get("/usage")).json()["usage"] == []
    for query in (
        "since=2030-01-01T00:00:00",
        "since=2030-01-02T00:00:00Z&until=2030-01-01T00:00:00Z",
        "until=0001-01-01T00:00:00Z",
        "since=now",
        "group_by=tenant_id",
        "group_by=status&group_by=status",
        "group_by=minute&since=2020-01-01T00:00:00Z",
        "since=0001-01-01T00:00:00%2B14:00",
        "limit=0",
        "group_by=caller",
        "version=one",
        "all_tenants=maybe",
        "cursor=nonsense",
        "group_by=hour&cursor=WyJub3ciXQ==",
        "group_by=key_id&cursor=WyJhIiwiYiJd",
        "unknown=3",
    ):
        answer = await owner.get(f"/usage?{query}")
        assert answer.status_code == 400, (query, answer.text)


async def test_acts_on_tenants_members_and_shares_are_told(server, owner):
    await server.register(owner)
    await owner.put("/deployments/live", json={"model": "adder"})
    made = (await owner.post("/tenants", json={"tenant_id": "acme", "name": "Secret Inc"})).json()
    person = {"role": "viewer", "email": "ada@example.com", "name": "Ada"}
    member = (await owner.post("/members", json=person)).json()
    wanted = {"deployment": "live", "tenant_id": "acme", "note": "hush"}
    share = (await owner.post("/shares", json=wanted)).json()
    key = (await owner.post("/keys", json={"name": "k", "role": "viewer"})).json()["key"]
    rotated = await owner.post(f"/keys/{key['key_id']}/rotate", json={"overlap_s": 60})
    assert rotated.status_code == 200, rotated.text
    text = (await owner.get("/audit/entries")).text
    entries = (await owner.get("/audit/entries")).json()["entries"]
    told = {one["action"]: one["detail"] for one in entries if one["outcome"] == "ok"}
    assert told["tenants.create_tenant"]["key_id"] == made["owner"]["key"]["key_id"]
    assert told["members.add_member"]["member_id"] == member["member_id"]
    assert told["shares.share"]["grant_id"] == share["grant_id"]
    for secret in (made["owner"]["token"], rotated.json()["token"], "ada@", "hush", "Secret Inc"):
        assert secret not in text
