"""Every route of the management API: no key, a key without the right, another tenant's key."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter
from tests.support.management import OTHER, Installation
from tests.support.usage import note

from modelry.domain.access import DEFAULT_TENANT_ID, Permission, Role, effective_permissions
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import ERRORS_BY_CODE
from modelry.domain.evaluations import Evaluation, Measured
from modelry.domain.explanations import DatasetExplanation
from modelry.domain.jobs import Artefact
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.management import PREFIX, build_app
from modelry.protocols.management.app import ROUTERS
from modelry.protocols.management.routing import managed_router, needs
from modelry.services.audit.denials import Denials
from modelry.services.inference.metering import Meter
from modelry.services.privacy.ports import LoggedRequest, SealedLog
from modelry.services.quotas.service import QuotasService
from modelry.services.usage.prices import PricesService
from modelry.testing.datasets import keep_rows
from modelry.testing.encryption import memory_encryption
from modelry.testing.lineage_store import LINEAGE
from modelry.testing.samples import OTHER_TENANT_ID, principal

pytestmark = pytest.mark.anyio

SUSPENDED = "asleep"
TENANTS = (DEFAULT_TENANT_ID, OTHER_TENANT_ID, SUSPENDED)

REQUESTS: dict[tuple[str, str], Any] = {
    ("put", "/models/{model}/aliases/{alias}"): {"version": 1},
    ("post", "/versions"): {"file": {"name": "a.onnx", "digest": "sha256:" + "0" * 64}},
    ("post", "/uploads"): {"size_bytes": 3},
    ("put", "/deployments/{name}"): {"model": "adder", "version": 1},
    ("post", "/deployments/{name}/scale"): {"min_replicas": 0},
    ("post", "/pulls"): {"source": "nothing"},
    ("post", "/audit/verify"): {},
    ("post", "/prices"): {"unit": "requests", "amount": "1", "currency": "EUR"},
    ("post", "/keys"): {"name": "k", "role": "inference"},
    ("put", "/quotas/keys/{key_id}"): {"requests_per_second": 5},
    ("put", "/quotas/tenants/{tenant_id}"): {"tokens_per_day": 1000},
    ("patch", "/keys/{key_id}"): {"name": "other"},
    ("post", "/keys/{key_id}/rotate"): {"overlap_s": 1},
    ("post", "/members"): {"role": "inference", "email": "new@example.com"},
    ("patch", "/members/{member_id}"): {"role": "inference"},
    ("post", "/shares"): {"deployment": "live", "tenant_id": "somebody"},
    ("post", "/tenants"): {"tenant_id": "new", "name": "New"},
    ("patch", "/tenants/{tenant_id}"): {"name": "Other"},
    ("put", "/deployments/{name}/request-log"): {"sample_rate": 0.5},
    ("put", "/retention"): {"request_logs": 30},
    ("post", "/evaluations"): {"version": "none", "dataset": "none"},
    ("post", "/explanations"): {"version": "none", "dataset": "none"},
    ("post", "/training"): {"recipe": "none", "dataset": "none", "model": "new"},
    ("post", "/models/{model}/versions/{version}/reproduce"): {},
    ("post", "/jobs"): {"kind": "nothing"},
    ("post", "/chains"): {"steps": [{"kind": "nothing"}]},
    ("post", "/searches"): {
        "training": {"recipe": "none", "dataset": "none", "model": "new"},
        "space": {"epochs": [1, 2]},
        "metric": "loss",
    },
    ("post", "/datasets/{dataset}/imports"): {
        "files": [{"name": "a.csv", "digest": "sha256:" + "0" * 64}]
    },
    ("post", "/datasets/{dataset}/derivations"): {"sources": ["things"]},
}
"""Bodies of the routes that take JSON."""
QUERIES: dict[tuple[str, str], str] = {
    ("delete", "/tenants/{tenant_id}"): "?confirm=Leaving",
    ("delete", "/request-logs"): "?key_id=nobody",
    ("get", "/comparisons"): "?version=adder@1&version=adder@2",
}
"""Queries that must be there."""
NAMES_IN_QUERY = frozenset({"/comparisons"})
"""Routes that name things of the tenant in their query instead of their path."""
THINGS = Schema((Column("n", ColumnType.INTEGER),))


def operations(server: Installation) -> list[tuple[str, str, Permission]]:
    document = server.app.openapi()
    return [
        (method, path.removeprefix(PREFIX), Permission(operation["x-permission"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def things(server: Installation) -> dict[str, str]:
    """Something for every path parameter, owned by the default tenant."""
    async with server.client() as owner:
        await server.register(owner)
        await server.register(owner, size=4)
        await owner.put("/models/adder/aliases/champion", json={"version": 2})
        await owner.put("/deployments/live", json={"model": "adder", "version": 1})
        upload = (await owner.post("/uploads", json={"size_bytes": 3})).json()
        key = (await owner.post("/keys", json={"name": "k", "role": "inference"})).json()
        person = {"role": "viewer", "email": "ada@example.com"}
        member = (await owner.post("/members", json=person)).json()
        wanted = {"deployment": "live", "tenant_id": OTHER_TENANT_ID}
        share = (await owner.post("/shares", json=wanted)).json()
        await owner.post("/tenants", json={"tenant_id": "leaving", "name": "Leaving"})
        await owner.put("/deployments/live/request-log", json={})
        keep_a_request(server)
        server.database.lineages.add(replace(LINEAGE, model_name="adder"))
        begun = await owner.delete("/tenants/leaving?confirm=Leaving")
        assert begun.status_code == 202, begun.text
        price = (await owner.post("/prices", json=REQUESTS["post", "/prices"])).json()
    keep_rows(server.datasets, principal(), "things", THINGS, {"train": {"n": [1, 2]}})
    meter = Meter()
    note(meter, request_id="mine-1")
    server.usage.ledger.add(meter.take())
    evaluate(server)
    explain(server)
    return {
        "job_id": ended_job(server),
        "evaluation_id": "measured",
        "explanation_id": "explained",
        "price_id": price["price_id"],
        "request_id": "mine-1",
        "model": "adder",
        "version": "1",
        "alias": "champion",
        "name": "live",
        "upload_id": upload["upload_id"],
        "key_id": key["key"]["key_id"],
        "member_id": member["member_id"],
        "grant_id": share["grant_id"],
        "tenant_id": "leaving",
        "log_id": "kept",
        "dataset": "things",
    }


def ended_job(server: Installation) -> str:
    """A job that was cancelled, so that the stream of its events ends, with an artefact `live`."""
    job = server.jobs.submit(principal(), "nothing", {})
    kept = server.catalog.contents.keep(DEFAULT_TENANT_ID, [b"kept"])
    artefact = Artefact("live", kept.digest, kept.size_bytes, datetime.now(UTC))
    server.database.jobs.write(
        DEFAULT_TENANT_ID,
        lambda records: records.put_artefact(DEFAULT_TENANT_ID, job.job_id, artefact),
    )
    server.jobs.cancel(principal(), job.job_id)
    return job.job_id


def evaluate(server: Installation) -> None:
    """An evaluation of the first version of the model `adder`."""
    version = server.catalog.get_version(principal(), "adder", 1)
    report = server.catalog.contents.keep(DEFAULT_TENANT_ID, [b"{}"])
    server.database.evaluations.add(
        Evaluation(
            tenant_id=DEFAULT_TENANT_ID,
            evaluation_id="measured",
            model_name="adder",
            version_number=1,
            version_digest=version.digest,
            dataset="things@1",
            dataset_digest=version.digest,
            split="test",
            rows=1,
            metrics={"accuracy": Measured(1.0)},
            speed={},
            report_digest=report.digest,
            job_id="measured",
            created_at=datetime.now(UTC),
            created_by="owner",
        )
    )


def explain(server: Installation) -> None:
    """Explanations of the first version of the model `adder`."""
    version = server.catalog.get_version(principal(), "adder", 1)
    report = server.catalog.contents.keep(DEFAULT_TENANT_ID, [b"{}"])
    server.database.explanations.add(
        DatasetExplanation(
            tenant_id=DEFAULT_TENANT_ID,
            explanation_id="explained",
            model_name="adder",
            version_number=1,
            version_digest=version.digest,
            task="tabular",
            dataset="things@1",
            dataset_digest=version.digest,
            split="test",
            rows=1,
            method="shapley",
            sentence="Over 1 rows counted most: n (1).",
            report_digest=report.digest,
            rows_digest=report.digest,
            job_id="explained",
            created_at=datetime.now(UTC),
            created_by="owner",
        )
    )


def keep_a_request(server: Installation) -> None:
    """A kept request of the deployment `live`."""
    sealed = server.encryption.seal(DEFAULT_TENANT_ID, "request_log/kept", b"{}")
    now = datetime.now(UTC)
    kept = LoggedRequest(
        DEFAULT_TENANT_ID, "kept", "req_1", now, now + timedelta(days=1), "live", 1, "owner",
        "tensor", "ok", 0.1, {},
    )  # fmt: skip
    server.database.request_logs.add(DEFAULT_TENANT_ID, [SealedLog(kept, sealed)])


def everybody(server: Installation) -> None:
    """A key of every role in every tenant, one of which is suspended, among the tokens."""
    platform = principal()
    server.tenants.create(platform, SUSPENDED, "Asleep")
    for tenant_id in TENANTS:
        owner = principal(Role.OWNER, tenant_id)
        for role in Role:
            minted = server.tenancy.create(owner, name=f"{role}", role=role)
            server.tokens[f"{tenant_id}/{role}"] = minted.token
    server.tenants.suspend(platform, SUSPENDED)


async def ask(server: Installation, who: str, method: str, path: str, named: dict[str, str]):
    async with server.client(who) as client:
        return await client.request(
            method,
            path.format(**named) + QUERIES.get((method, path), ""),
            json=REQUESTS.get((method, path)),
            headers={"upload-offset": "0"},
        )


async def test_without_a_key_nothing_is_answered(server):
    named = await things(server)
    for method, path, _ in operations(server):
        answer = await ask(server, "", method, path, named)
        assert answer.status_code == 401, (method, path)
        assert answer.json()["error"]["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_route_with_every_role_of_every_tenant(server):
    """Every cell; what is allowed is asked for things that are not there, so that all stay."""
    named = await things(server)
    everybody(server)
    nothing = {**dict.fromkeys(named, "none"), "version": "9"}
    cells = dict.fromkeys((200, 403, 404, "suspended", "allowed"), 0)
    for tenant_id in TENANTS:
        for role in Role:
            rights = effective_permissions(tenant_id, role)
            for method, path, permission in operations(server):
                cell = (tenant_id, role.value, method, path)
                is_own = tenant_id == DEFAULT_TENANT_ID
                changes_own = is_own and method != "get"
                shown = nothing if changes_own else named
                answer = await ask(server, f"{tenant_id}/{role}", method, path, shown)
                code = None if answer.is_success else answer.json()["error"]["code"]
                if tenant_id == SUSPENDED:
                    assert (answer.status_code, code) == (403, "tenant_suspended"), cell
                    cells["suspended"] += 1
                elif permission not in rights:
                    assert (answer.status_code, code) == (403, "permission_denied"), cell
                    assert permission in answer.json()["error"]["message"]
                    cells[403] += 1
                elif not is_own and ("{" in path or path in NAMES_IN_QUERY):
                    assert (answer.status_code, code) == (404, "not_found"), cell
                    cells[404] += 1
                elif method == "get":
                    assert answer.status_code == 200, (cell, answer.text)
                    cells[200] += 1
                else:
                    assert answer.status_code not in (401, 403), (cell, answer.text)
                    assert answer.status_code < 500 or code == "source_unavailable", cell
                    cells["allowed"] += 1
    assert sum(cells.values()) == len(TENANTS) * len(Role) * len(operations(server))
    assert min(cells.values()) > 50, cells
    async with server.client() as owner:
        assert (await owner.get("/models/adder")).json()["latest_version"] == 2
        assert (await owner.get("/deployments/live")).status_code == 200


async def test_lists_show_the_own_tenant_only(server):
    await things(server)
    async with server.client(OTHER) as stranger:
        assert (await stranger.get("/models")).json() == {"models": []}
        assert (await stranger.get("/deployments")).json() == {"deployments": []}
        keys = (await stranger.get("/keys")).json()["keys"]
        assert [one["name"] for one in keys] == ["Stranger"]
        assert (await stranger.get("/members")).json() == {"members": []}
        assert (await stranger.get("/shares")).json() == {"shares": []}
        assert (await stranger.get("/status")).json()["deployments"]["total"] == 0


async def test_every_operation_is_described(server):
    document = server.app.openapi()
    ids = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert operation["tags"], path
            assert "$ref" in str(operation["responses"]["default"]), path
            route = (method, path.removeprefix(PREFIX))
            takes_body = route in REQUESTS or route == ("patch", "/uploads/{upload_id}")
            assert ("requestBody" in operation) == takes_body, (method, path)
            ids.add(operation["operationId"])
    assert len(ids) == len(operations(server))
    assert all(path.startswith(f"{PREFIX}/") for path in document["paths"])


def answer_nothing() -> None:
    """Stands for any handler."""


def test_a_route_without_permission_is_not_built():
    with pytest.raises(TypeError, match=r"/open declares no permission"):
        managed_router("x").get("/open")(answer_nothing)
    with pytest.raises(TypeError, match=r"/open declares no permission"):
        managed_router("x").get("/open", openapi_extra=needs(Permission.PUBLIC))(answer_nothing)


async def test_an_app_with_an_unchecked_route_is_not_built(server):
    plain = APIRouter()
    plain.get("/open")(answer_nothing)
    with pytest.raises(TypeError, match="check no permission"):
        build_app(
            catalog=server.catalog,
            deployments=server.deployments,
            tenancy=server.tenancy,
            encryption=memory_encryption(),
            quotas=QuotasService(
                server.database.quotas,
                server.inference.accounts,
                PricesService(server.database.prices),
            ),
            tenants=server.tenants,
            members=server.members,
            sharing=server.sharing,
            prices=PricesService(server.database.prices),
            usage=server.usage,
            audit=server.audit,
            trail=server.trail,
            denials=Denials(server.trail),
            request_logs=server.request_logs,
            retention=server.retention,
            export=server.export,
            jobs=server.jobs,
            training=server.training,
            chains=server.chains,
            datasets=server.datasets,
            evaluations=server.evaluations,
            explanations=server.explanations,
            authenticator=server.inference.authenticator,
            limits=DoorLimits(server.inference.accounts),
            status=dict,
            routers=[*ROUTERS, plain],
        )


async def test_unknown_paths_and_methods_are_told_in_our_shape(server, owner):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "", 404),
        ("GET", "/models/", 404),
        ("GET", "/models/../keys/x/y", 404),
        ("PUT", "/models", 405),
        ("HEAD", "/models", 405),
        ("OPTIONS", "/keys", 405),
    ):
        answer = await owner.request(method, path)
        assert answer.status_code == status, (method, path)
        if method != "HEAD":
            assert answer.json()["error"]["code"] in ERRORS_BY_CODE
        assert answer.headers["x-request-id"].startswith("req_")
    assert (await owner.put("/models")).headers["allow"] == "GET"


async def test_answers_carry_the_request_id_and_go_on_with_the_trace(server, owner):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for path in ("/whoami", "/models/none", "/nothing"):
        answer = await owner.get(path, headers={"x-request-id": "mine-1", "traceparent": trace})
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["traceparent"].startswith(trace[:36])
        assert answer.headers["traceparent"] != trace
        other = await owner.get(path, headers={"x-request-id": "a\tb", "traceparent": "00-zz"})
        assert other.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer mlry_live_x", "bearer \xff\xfe", "Bearer " * 99],
)
async def test_keys_that_are_none(server, authorization):
    async with server.client("") as client:
        answer = await client.get(
            "/models", headers={"authorization": authorization.encode("latin-1")}
        )
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthenticated"


async def test_defects_are_logged_and_told_without_details(server, owner, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(server.catalog, "list_models", broken)
    answer = await owner.get("/models", headers={"x-request-id": "mine-2"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "mine-2" in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert "mine-2" in caplog.text
    assert "/secret/path" in caplog.text
