"""Usage, CSV, prices and traces through the management API, on both databases."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.management import OTHER, Installation
from tests.support.usage import PETS, note

from modelry.domain.access import Role
from modelry.domain.usage import NOWHERE, Origin
from modelry.services.inference.metering import Meter
from modelry.services.inference.request_ids import new_request_id

pytestmark = pytest.mark.anyio

CHAT = Origin("default", "assistant", "llm", 1, "chat", "sha256:c", "sha256:d")


def used(server: Installation, *requests: dict[str, object]) -> None:
    meter = Meter()
    for one in requests:
        note(meter, **one)
    server.usage.ledger.add(meter.take())


async def test_usage_is_filtered_and_comes_in_pages(server, owner):
    used(
        server,
        *({"key_id": f"k{at}"} for at in range(7)),
        {"key_id": "k1", "origin": CHAT, "units": {"input_tokens": 5}},
        {"key_id": "k2", "origin": NOWHERE, "status": "not_found", "units": None},
    )
    params = {"group_by": ["deployment", "key_id"], "limit": 3}
    pages = []
    while True:
        page = (await owner.get("/usage", params=params)).json()
        pages.append([tuple(one["group"].values()) for one in page["usage"]])
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [group for page in pages for group in page] == [
        ("", "k2"), ("assistant", "k1"), *(("pets", f"k{at}") for at in range(7)),
    ]  # fmt: skip
    assert all(len(page) <= 3 for page in pages)

    async def requests(**wanted: object) -> int:
        totals = (await owner.get("/usage", params=wanted)).json()["usage"]
        return sum(one["units"]["requests"] for one in totals)

    assert await requests() == 9
    assert await requests(key_id=["k1", "k3"]) == 3
    assert await requests(deployment="assistant", key_id="k1") == 1
    assert await requests(task="chat") == await requests(model="llm") == 1
    assert await requests(status="not_found") == 1
    assert await requests(version=3) == 7
    assert await requests(deployment="none") == 0


async def test_a_key_for_some_deployments_sees_those_alone(server, owner):
    used(server, {}, {"origin": CHAT}, {"origin": NOWHERE, "request_id": "lost"})
    body = {"name": "narrow", "role": "viewer", "deployments": ["pets"]}
    token = (await owner.post("/keys", json=body)).json()["token"]
    async with server.client("", authorization=f"Bearer {token}") as narrow:
        found = (await narrow.get("/usage?group_by=deployment")).json()["usage"]
        assert [one["group"]["deployment"] for one in found] == ["pets"]
        assert (await narrow.get("/usage?deployment=assistant")).json()["usage"] == []
        assert (await narrow.get("/requests/lost")).status_code == 404


async def test_the_platform_sees_all_tenants_and_others_do_not(server, owner):
    used(server, {}, {"tenant_id": OTHER, "origin": Origin(OTHER, "x", "m", 1, "tensor")})
    found = (await owner.get("/usage?all_tenants=true&group_by=tenant_id")).json()["usage"]
    assert [(one["group"]["tenant_id"], one["units"]["requests"]) for one in found] == [
        ("default", 1), ("other", 1),
    ]  # fmt: skip
    async with server.client(OTHER) as stranger, server.client(Role.DEVELOPER) as developer:
        for client in (stranger, developer):
            for path in ("/usage", "/usage.csv"):
                assert (await client.get(f"{path}?all_tenants=true")).status_code == 403


async def test_shared_deployments_are_told_to_each_side_as_it_may_know(server, owner):
    call = {"tenant_id": OTHER, "key_id": "their-key", "request_id": "shared-call"}
    used(server, call | {"replica": "secret-replica"})
    async with server.client(OTHER) as caller:
        (total,) = (await caller.get("/usage?group_by=deployment&group_by=key_id")).json()["usage"]
        assert total["group"] == {"deployment": "pets@default", "key_id": "their-key"}
        (record,) = (await caller.get("/requests/shared-call")).json()["requests"]
        assert record["replica_id"] == record["version_digest"] == record["graph_digest"] == ""
        assert record["engine_options"] == {}
    assert (await owner.get("/usage")).json()["usage"] == []
    answer = await owner.get("/usage?shared=true&group_by=caller&group_by=deployment")
    (total,) = answer.json()["usage"]
    assert total["group"] == {"caller": OTHER, "deployment": "pets"}
    trace = await owner.get("/requests/shared-call")
    (record,) = trace.json()["requests"]
    assert (record["caller"], record["replica_id"]) == (OTHER, "secret-replica")
    assert "their-key" not in trace.text + answer.text


async def test_a_request_is_traced_by_its_id(server, owner):
    ours = new_request_id().decode()
    forged = "req_" + "0" * 28
    used(
        server,
        {"request_id": ours, "parameters": b'{"top_k":3}'},
        *({"request_id": forged} for _ in range(2)),
        *({} for _ in range(50)),
        {"request_id": "theirs", "tenant_id": OTHER, "origin": NOWHERE},
    )
    (record,) = (await owner.get(f"/requests/{ours}")).json()["requests"]
    assert record["version_digest"] == PETS.version_digest
    assert record["graph_digest"] == PETS.graph_digest
    assert record["replica_id"] == "r1"
    assert record["parameters"] == {"top_k": 3}
    assert record["engine_options"] == {"threads": 2}
    assert record["units"] == {"images": 2, "engine_us": 70}
    assert record["duration_s"] == pytest.approx(0.25, abs=1e-5)
    assert len((await owner.get(f"/requests/{forged}")).json()["requests"]) == 2
    for name in (
        "theirs",
        "none",
        new_request_id().decode(),
        "x" * 100,
        "req_" + "f" * 28,
        "a%20b",
    ):
        answer = await owner.get(f"/requests/{name}")
        assert answer.status_code == 404, (name, answer.text)


async def test_usage_as_csv_is_rfc_4180_and_no_formula(server, owner):
    used(server, {"key_id": '=cmd|" /C calc"!A0'}, {"key_id": 'a,b\n"c'}, {"key_id": "+1"})
    answer = await owner.get("/usage.csv?group_by=key_id&group_by=status")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.text, newline=""), strict=True))
    assert rows[0] == ["key_id", "status", "unit", "amount", "currency", "cost"]
    assert ['\'=cmd|" /C calc"!A0', "ok", "images", "2", "", ""] in rows
    assert ['a,b\n"c', "ok", "requests", "1", "", ""] in rows
    assert ["'+1", "ok", "requests", "1", "", ""] in rows
    assert answer.text.count("\r\n") == len(rows)
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    many = [{"key_id": f"k{at:05}"} for at in range(1500)]
    used(server, *many)
    assert server.usage.ledger.settle(60)
    answer = await owner.get("/usage.csv?group_by=key_id")
    listed = list(csv.reader(io.StringIO(answer.text, newline="")))[1:]
    told = [row[0] for row in listed if row[1] == "requests" and row[0].startswith("k0")]
    assert told == [one["key_id"] for one in many]
    assert (await owner.get("/usage.csv?group_by=nothing")).status_code == 400


async def test_to_be_refused_by_limits_costs_nothing(server, owner):
    body = {"unit": "requests", "amount": "0.5", "currency": "EUR"}
    await owner.post("/prices", json=body)
    (price,) = server.database.prices.all()
    server.database.prices.put(replace(price, valid_from=price.valid_from - timedelta(hours=1)))
    await owner.post("/prices", json=body | {"unit": "rows"})  # from now on the first one is known
    refused = [{"status": one, "units": None} for one in ("budget_exceeded", "overloaded")]
    used(server, {}, *refused, {"status": "invalid_input", "units": None})
    (total,) = (await owner.get("/usage?group_by=deployment")).json()["usage"]
    assert (total["units"]["requests"], total["costs"]) == (4, {"EUR": "1"})


async def test_costs_follow_the_prices_of_their_time(server, owner):
    body = {"unit": "images", "amount": "0.002", "currency": "EUR", "deployment": "pets"}
    made = await owner.post("/prices", json=body)
    assert made.status_code == 201
    price = made.json()
    begin = datetime.fromisoformat(price["valid_from"])
    assert datetime.now(UTC) < begin <= datetime.now(UTC) + timedelta(minutes=1)
    assert (price["amount"], price["per"], price["task"]) == ("0.002", 1, "*")
    # used before the price holds: free, for ever
    used(server, {})
    (total,) = (await owner.get("/usage")).json()["usage"]
    assert total["costs"] == {}
    (kept,) = server.database.prices.all()
    server.database.prices.put(replace(kept, valid_from=begin - timedelta(hours=1)))
    await owner.post("/prices", json=body | {"unit": "rows"})
    (total,) = (await owner.get("/usage?group_by=deployment")).json()["usage"]
    assert total["costs"] == {"EUR": "0.004"}
    rows = (await owner.get("/usage.csv")).text
    assert ",,EUR,0.004\r\n" in rows
    ended = await owner.delete(f"/prices/{price['price_id']}")
    assert ended.json()["valid_until"] is not None
    listed = (await owner.get("/prices")).json()["prices"]
    assert price["price_id"] in [one["price_id"] for one in listed]
    async with server.client(OTHER) as stranger:
        assert (await stranger.get("/prices")).status_code == 403
        assert (await stranger.post("/prices", json=body)).status_code == 403
    for wrong in ({"amount": 0.1}, {"amount": "-1"}, {"amount": "1e3"}, {"currency": "euro"},
                  {"per": 0}, {"valid_from": "2020-01-01T00:00:00Z"}, {"unit": "a b"}):  # fmt: skip
        assert (await owner.post("/prices", json=body | wrong)).status_code == 400, wrong


async def test_both_sides_of_a_shared_deployment_see_the_same_costs(server, owner):
    used(server, {"tenant_id": OTHER}, {"tenant_id": OTHER}, {})
    for amount, patterns in (("1", {}), ("3", {"tenant": OTHER, "deployment": "*@default"})):
        body = {"unit": "images", "amount": amount, "currency": "EUR", **patterns}
        await owner.post("/prices", json=body)
    for price in server.database.prices.all():
        moved = replace(price, valid_from=price.valid_from - timedelta(hours=1))
        server.database.prices.put(moved)
    await owner.post("/prices", json={"unit": "rows", "amount": "1", "currency": "EUR"})
    (own,) = (await owner.get("/usage")).json()["usage"]
    assert own["costs"] == {"EUR": "2"}
    (shared,) = (await owner.get("/usage?shared=true&group_by=status")).json()["usage"]
    assert shared["costs"] == {"EUR": "12"}
    async with server.client(OTHER) as caller:
        (paid,) = (await caller.get("/usage?group_by=key_id")).json()["usage"]
        assert paid["costs"] == {"EUR": "12"}
    everybody = await owner.get("/usage?all_tenants=true&group_by=tenant_id")
    costs = {one["group"]["tenant_id"]: one["costs"]["EUR"] for one in everybody.json()["usage"]}
    assert costs == {"default": "2", OTHER: "12"}


async def test_every_single_request_as_csv(server, owner):
    used(
        server,
        *({"request_id": f"r{at}", "units": {"images": at, "=x": 1}} for at in range(1200)),
        {"tenant_id": OTHER, "request_id": "theirs", "origin": NOWHERE},
        {"origin": CHAT, "request_id": "=1+1"},
    )
    answer = await owner.get("/requests.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
    assert len(rows) == 1201
    by_id = {row["request_id"]: row for row in rows}
    assert (by_id["r7"]["images"], by_id["r7"]["other_units"]) == ("7", '{"=x":1}')
    assert by_id["r7"]["engine_us"] == "70"
    assert by_id["'=1+1"]["deployment"] == "assistant"
    body = {"name": "narrow", "role": "viewer", "deployments": ["assistant"]}
    token = (await owner.post("/keys", json=body)).json()["token"]
    async with server.client("", authorization=f"Bearer {token}") as narrow:
        told = (await narrow.get("/requests.csv")).text
    assert told.count("\r\n") == 2
    old = await owner.get("/requests.csv?until=2020-01-02T00:00:00Z")
    assert old.text.count("\r\n") == 1
    wide = await owner.get("/requests.csv?since=2020-01-02T00:00:00Z")
    assert wide.status_code == 400
