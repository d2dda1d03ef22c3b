"""Two tenants on one server: whatever one tries, it learns and changes nothing of the other."""

from __future__ import annotations

import contextlib
import json
import secrets
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.support.operating import wait_until
from tests.support.two_tenants import (
    GLOBEX,
    World,
    pipelined,
    request_bytes,
    told,
    two_tenants,
)
from tests.support.wire_models import WORD_VECTORS_MANIFEST, multiplier, word_vectors

from modelry.adapters.sql.database import open_database
from modelry.domain.access import ApiKey, Role
from modelry.domain.catalog import Model
from modelry.services.catalog.ports import UploadRecord
from modelry.services.signin.ports import MemberSession

IDS = {"sqlite": 10_000, "postgresql": 2_000}
"""The way is the same on both, and takes three times as long on PostgreSQL."""
TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
METHODS = ("get", "put", "post", "patch", "delete")
PLATFORM_ONLY = {"tenant_id", "price_id"}
"""Path parameters of routes that belong to the platform: refused as such, whatever the id."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    data = tmp_path_factory.mktemp("tenants") / "data"
    with contextlib.ExitStack() as stack:
        settings = {"database_url": f"sqlite:///{data}/modelry.db"}
        if request.param == "postgresql":
            databases = request.getfixturevalue("postgres")
            settings = stack.enter_context(databases.empty()).settings
        yield stack.enter_context(two_tenants(data, log_level="debug", **settings))


@pytest.fixture(scope="module")
def theirs(world: World) -> dict[str, str]:
    """One of everything that Globex has, by the name of the path parameter."""
    owner = world.globex
    name = f"m{secrets.token_hex(8)}"
    version = owner.register(name, multiplier(2))
    owner.deploy(name, model=name, version=1)
    owner.load(name)
    owner.call("PUT", f"/models/{name}/aliases/champion", json={"version": 1})
    key = owner.call("POST", "/keys", json={"name": "app", "role": "inference"})["key"]
    member = owner.call("POST", "/members", json={"role": "viewer", "email": "ann@globex.test"})
    upload = owner.call("POST", "/uploads", json={"size_bytes": 1000})
    owner.call("PUT", f"/deployments/{name}/request-log", json={})
    asked = owner.http.post(f"/v2/models/{name}/infer", json={"inputs": [TENSOR]})
    request_id = asked.headers["x-request-id"]
    trace = f"/api/v1/requests/{request_id}"
    wait_until(lambda: owner.http.get(trace).status_code == 200, "the request can be traced", 20)
    kept = "/request-logs"
    wait_until(lambda: bool(owner.call("GET", kept)["requests"]), "the request was kept", 20)
    price = {"unit": "requests", "amount": "0.01", "currency": "EUR", "tenant": GLOBEX}
    share = owner.call("POST", "/shares", json={"deployment": name, "tenant_id": "default"})
    dataset = f"d{secrets.token_hex(8)}"
    rows = {"name": "rows.csv", "digest": owner.upload(b"n,kind\n1,a\n2,b\n")}
    imported = owner.call("POST", f"/datasets/{dataset}/imports", json={"files": [rows]})
    job_id = imported["job_id"]
    job = f"/jobs/{job_id}"
    wait_until(lambda: owner.call("GET", job)["state"] == "succeeded", "rows are imported", 60)
    rows = {"file": ("rows.jsonl", b'{"a": 1}'), "purpose": (None, b"fine-tune")}
    sent = owner.http.post("/v1/files", files=rows)
    assert sent.status_code == 200, sent.text
    return {
        "dataset": dataset,
        "file_id": sent.json()["id"],
        "fine_tuning_job_id": f"ftjob-{job_id.removeprefix('job-')}",
        "job_id": job_id,
        "evaluation_id": job_id,
        "explanation_id": job_id,
        "model": name,
        "name": name,
        "alias": "champion",
        "version": "1",
        "key_id": key["key_id"],
        "member_id": member["member_id"],
        "upload_id": upload["upload_id"],
        "grant_id": share["grant_id"],
        "tenant_id": GLOBEX,
        "price_id": world.platform.call("POST", "/prices", json=price)["price_id"],
        "request_id": request_id,
        "session_id": session_of(world, member["member_id"]),
        "log_id": owner.call("GET", kept)["requests"][0]["log_id"],
        "digest": version["files"][0]["digest"],
    }


def session_of(world: World, member_id: str) -> str:
    """A signed-in browser of a member; signing in takes an identity provider."""
    now, later = datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1)
    session_id = f"s{secrets.token_hex(8)}"
    database = open_database(world.database_url)
    database.sessions.add(
        MemberSession(GLOBEX, session_id, member_id, secrets.token_bytes(32), now, now, later)
    )
    database.close()
    return session_id


def like(value: str) -> str:
    """A random id of the same shape."""
    if value.startswith("sha256:"):
        return f"sha256:{secrets.token_hex(32)}"
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    return "".join(
        next((secrets.choice(kind) for kind in kinds if one in kind), one) for one in value
    )


def bodies_of(ids: dict[str, str]) -> dict[str, Any]:
    """A body for each operation that wants one, as its path ends."""
    tensors = {"inputs": [TENSOR]}
    return {
        "PUT /api/v1/models/{model}/aliases/{alias}": {"version": 1},
        "PATCH /api/v1/keys/{key_id}": {"name": "mine"},
        "POST /api/v1/keys/{key_id}/rotate": {},
        "PATCH /api/v1/members/{member_id}": {"role": "owner"},
        "PUT /api/v1/deployments/{name}": {"model": ids["model"], "version": 1},
        "POST /api/v1/deployments/{name}/scale": {"min_replicas": 0},
        "PUT /api/v1/quotas/keys/{key_id}": {"requests_per_second": 1},
        "PUT /api/v1/quotas/tenants/{tenant_id}": {"requests_per_second": 1},
        "PATCH /api/v1/tenants/{tenant_id}": {"name": "Mine"},
        "PUT /api/v1/deployments/{name}/request-log": {"retention_days": 1},
        "POST /api/v1/datasets/{dataset}/imports": {
            "files": [{"name": "rows.csv", "digest": ids["digest"]}]
        },
        "POST /api/v1/datasets/{dataset}/derivations": {"sources": [ids["dataset"]]},
        "POST /api/v1/models/{model}/versions/{version}/reproduce": {},
        "POST /v2/models/{model}/infer": tensors,
        "POST /v2/models/{model}/versions/{version}/infer": tensors,
    }


def by_body(ids: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Requests that name things in their bodies and queries."""
    model, text = ids["model"], {"role": "user", "content": "Hi"}
    shared = f"{model}@{GLOBEX}"
    file = {"name": "model.onnx", "digest": ids["digest"]}
    found: list[tuple[str, str, Any]] = [
        ("POST", "/api/v1/shares", {"deployment": model, "tenant_id": "default"}),
        ("POST", "/api/v1/versions", {"file": file, "name": "mine", "task": "tensor"}),
        ("GET", f"/api/v1/models/{model}/alias-moves?alias=champion", None),
    ]
    for name in (model, shared):
        found += [
            ("POST", "/v1/chat/completions", {"model": name, "messages": [text]}),
            ("POST", "/v1/completions", {"model": name, "prompt": "Hi"}),
            ("POST", "/v1/embeddings", {"model": name, "input": "Hi"}),
            ("POST", "/v1/rerank", {"model": name, "query": "Hi", "documents": ["Hi"]}),
            ("POST", "/v1/classify", {"model": name, "text": "Hi"}),
            ("POST", "/v1/tabular", {"model": name, "rows": [{"x": 1}]}),
            ("POST", f"/v2/models/{name}/infer", {"inputs": [TENSOR]}),
            ("GET", f"/v1/models/{name}", None),
        ]
    return found


def operations(world: World) -> list[tuple[str, str]]:
    """Every route with an id in its path, as the server itself describes them; issuers of
    sign-ins are everybody's.
    """
    described = world.acme.http.get("/openapi.json").json()
    return sorted(
        (method.upper(), path)
        for path, methods in described["paths"].items()
        for method in methods
        if "{" in path
        and "{issuer}" not in path
        and method in ("get", "put", "post", "patch", "delete")
    )


def asked(world: World, ids: dict[str, str], method: str, path: str, body: Any) -> tuple[Any, ...]:
    encoded = b"" if body is None else json.dumps(body).encode()
    headers = ("Upload-Offset: 0",) if "{upload_id}" in path and method == "PATCH" else ()
    request = request_bytes(world.acme, method, path.format(**ids), encoded, *headers)
    (answer,) = pipelined(world.acme, [request])
    return told(answer, ids.values())


def test_lists_hold_ones_own(world: World, theirs: dict[str, str]) -> None:
    """First, as long as Acme has not asked for these ids itself: that its own audit log tells."""
    words = [theirs[name] for name in ("model", "key_id", "member_id", "upload_id", "grant_id")]
    listed = [
        path
        for path, methods in world.acme.http.get("/openapi.json").json()["paths"].items()
        if "get" in methods and "{" not in path
    ]
    assert len(listed) > 15
    for path in listed:
        answer = world.acme.http.get(path)
        for word in (*words, "ann@globex.test"):
            assert word not in answer.text, f"{path} tells {word}"


def test_what_another_tenant_has_is_as_what_nobody_has(
    world: World, theirs: dict[str, str]
) -> None:
    kept = ("alias", "version", "tenant_id")
    unknown = {name: value if name in kept else like(value) for name, value in theirs.items()}
    unknown["name"] = unknown["model"]
    nobody = {**unknown, "tenant_id": like(GLOBEX)}
    tried = 0
    for method, path in operations(world):
        platforms = any(f"{{{name}}}" in path for name in PLATFORM_ONLY)
        body = bodies_of(theirs).get(f"{method} {path}")
        mine = asked(world, theirs, method, path, body)
        others = nobody if platforms else unknown
        other_body = bodies_of(others).get(f"{method} {path}")
        assert mine == asked(world, others, method, path, other_body), f"{method} {path}"
        assert mine[0] == (403 if platforms else 404), f"{method} {path}: {mine}"
        tried += 1
    assert tried > 40
    for one, other in zip(by_body(theirs), by_body(unknown), strict=True):
        answer = asked(world, theirs, *one)
        assert answer == asked(world, unknown, *other), one
        assert answer[0] in (404, 409), f"{one}: {answer}"


def test_nothing_of_it_was_changed(world: World, theirs: dict[str, str]) -> None:
    owner, name = world.globex, theirs["model"]
    assert owner.call("GET", f"/models/{name}/aliases")["aliases"][0]["version"] == 1
    assert owner.call("GET", f"/keys/{theirs['key_id']}")["revoked_at"] is None
    assert owner.call("GET", f"/members/{theirs['member_id']}")["role"] == "viewer"
    assert owner.call("GET", f"/uploads/{theirs['upload_id']}")["received_bytes"] == 0
    assert owner.call("GET", "/tenant")["state"] == "active"
    answer = owner.http.post(f"/v2/models/{name}/infer", json={"inputs": [TENSOR]})
    assert answer.json()["outputs"][0]["data"] == [2, 4, 6]


def test_metrics_are_ones_own(world: World, theirs: dict[str, str]) -> None:
    name = theirs["model"]
    assert name in world.globex.http.get("/metrics").text
    assert GLOBEX not in world.globex.http.get("/metrics").text
    mine = world.acme.http.get("/metrics").text
    assert name not in mine
    assert GLOBEX not in mine
    assert "modelry_gateway" not in mine, "the process's load is everybody's"
    platforms = world.platform.http.get("/metrics").text
    assert f'modelry_tenant_replicas_ready{{tenant="{GLOBEX}"}} 1.0' in platforms
    assert name not in platforms, "what a tenant calls its models is its own affair"


CHEAP, DEAR = 120, 30
"""How often each way is gone: eight take a request, four are audited or write files."""


class Planted:
    """Secrets of Globex by the way they were sent; each is a word that stands nowhere else."""

    def __init__(self) -> None:
        self.by_way: dict[str, list[str]] = {}

    def new(self, way: str) -> str:
        word = f"canary{secrets.token_hex(12)}"
        self.by_way.setdefault(way, []).append(word)
        return word

    def all(self, *ways: str) -> list[bytes]:
        chosen = ways or tuple(self.by_way)
        return [word.encode() for way in chosen for word in self.by_way[way]]


NAMES = ("key names", "file names")
"""Names of things are kept as they are: they are on disk, and nowhere else."""


@pytest.fixture(scope="module")
def planted(world: World) -> Planted:
    """A thousand secrets, sent by Globex in every way in which somebody could send one."""
    planted, owner = Planted(), world.globex
    model, tokenizer = word_vectors()
    manifest = WORD_VECTORS_MANIFEST.format(name="words")
    owner.register_manifest(manifest, {"model": model, "tokenizer": tokenizer})
    owner.deploy("words")
    owner.load("words")

    def send(method: str, path: str, body: bytes, *headers: str) -> bytes:
        return request_bytes(owner, method, path, body, *headers)

    def embedding(text: str) -> bytes:
        return json.dumps({"model": "words", "input": text}).encode()

    requests = []
    word = planted.new
    for _ in range(CHEAP):
        requests += [
            send("POST", "/v1/embeddings", embedding(f"the cat {word('prompts')}")),
            send("POST", "/v1/embeddings", embedding("cat"), f"X-Note: {word('headers')}"),
            send("POST", "/v1/embeddings", embedding("cat"), f"User-Agent: {word('agents')}"),
            send("POST", "/v1/embeddings", f'{{"model": {word("broken")}'.encode()),
            send("POST", "/v1/embeddings", json.dumps({"model": word("models")}).encode()),
            send("POST", "/v1/chat/completions", embedding(word("wrong fields"))),
            send("POST", "/v2/models/words/infer", json.dumps({"x": word("tensors")}).encode()),
            send("GET", f"/api/v1/models?{word('queries')}=1", b""),
        ]
    for way in range(DEAR):
        requests.append(send("POST", "/api/v1/keys", _key(word("key names"))))
        content = b"\0" * 50 + planted.new("files").encode() * 3
        name = f"{planted.new('file names')}.onnx" if way % 10 == 0 else "model.onnx"
        digest = owner.upload(content)
        body = {"file": {"name": name, "digest": digest}, "name": "mine", "task": "tensor"}
        requests.append(send("POST", "/api/v1/versions", json.dumps(body).encode()))
    statuses: dict[int, int] = {}
    for answer in pipelined(owner, requests):
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        if b'"token"' in answer.body:
            planted.by_way.setdefault("tokens", []).append(json.loads(answer.body)["token"])
    assert statuses[200] >= 3 * CHEAP
    assert not any(status >= 500 for status in statuses), statuses
    assert sum(map(len, planted.by_way.values())) >= 1000
    return planted


def _key(name: str) -> bytes:
    return json.dumps({"name": name, "role": "viewer"}).encode()


def test_secrets_are_not_told_to_others(world: World, planted: Planted) -> None:
    wanted = planted.all()
    assert not found_in(world.running.log.read_bytes(), wanted), "the server's log"
    for who in (world.acme, world.platform):
        for path in ("/metrics", "/api/v1/audit/entries", "/api/v1/usage", "/v1/models", "/readyz"):
            assert not found_in(who.http.get(path).content, wanted), path
    mine = request_bytes(world.acme, "POST", "/v1/embeddings", b'{"model": "words"')
    (answer,) = pipelined(world.acme, [mine])
    assert not found_in(answer.body, wanted)
    logs = world.globex.call("GET", "/deployments/words/logs")
    assert not found_in(json.dumps(logs).encode(), wanted), "a worker's log"


def test_nobody_else_on_the_machine_can_look(world: World, theirs: dict[str, str]) -> None:
    """What the server and its workers write lies in folders that its own user alone can enter."""
    seen = {world.running.data, *world.running.data.rglob("*")}
    for worker in world.running.workers():
        command = worker.cmdline()
        if "--scratch" in command:
            scratch = Path(command[command.index("--scratch") + 1])
            seen |= {scratch, *scratch.rglob("*")}
    assert any("worker" in path.name for path in seen)
    open_to_others = {
        str(path): oct(path.lstat().st_mode)
        for path in seen
        if not path.is_symlink()
        and path.exists()
        and path.lstat().st_mode & 0o077
        and not any(parent.stat().st_mode & 0o077 == 0 for parent in path.parents if parent in seen)
    }
    assert open_to_others == {}


def test_secrets_are_not_on_disk(
    world: World, planted: Planted, request: pytest.FixtureRequest
) -> None:
    """Neither in the data folder nor in the database, but for names."""
    unnamed = [way for way in planted.by_way if way not in NAMES]
    wanted = planted.all(*unnamed)
    _wait_for_the_ledger(world)
    looked_at = 0
    for path in world.running.data.rglob("*"):
        if path.is_file():
            looked_at += 1
            hits = found_in(path.read_bytes(), wanted)
            assert not hits, f"{path.relative_to(world.running.data)} holds {hits}"
    assert looked_at > 5
    if "postgresql" in world.database_url:
        server = request.getfixturevalue("postgres").server
        name = world.database_url.split("@/")[1].split("?")[0]
        with server.connect(name) as admin:
            tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in tables.fetchall():
                rows = admin.execute(f'SELECT row_to_json(t)::text FROM "{table}" t').fetchall()
                text = "\n".join(row for (row,) in rows).encode()
                assert not found_in(text, wanted), table


def _wait_for_the_ledger(world: World) -> None:
    """Until what was sent has been written: looking before that would find nothing."""

    def counted() -> int:
        usage = world.globex.call("GET", "/usage")["usage"]
        return sum(one["units"]["requests"] for one in usage)

    wait_until(lambda: counted() >= 3 * CHEAP, "all requests are in the ledger", 20)


def found_in(content: bytes, wanted: list[bytes]) -> list[bytes]:
    return [one for one in wanted if one in content] if content else []


def ids_for(world: World) -> int:
    return IDS[world.database_url.split("+")[0].split(":")[0]]


@pytest.fixture(scope="module")
def many(world: World) -> dict[str, list[str]]:
    """Things that Globex has, by the path parameter that names them."""
    now = datetime.now(UTC)
    kinds = ("model", "key_id", "upload_id")
    ids = {
        kind: [f"x{secrets.token_hex(9)}" for _ in range(ids_for(world) // len(kinds) + 1)]
        for kind in kinds
    }
    database = open_database(world.database_url)

    def catalogue(records: Any) -> None:
        for name in ids["model"]:
            records.models.add(Model(GLOBEX, name, "tensor", now))
        for upload_id in ids["upload_id"]:
            records.uploads.put(UploadRecord(upload_id, 10, None, None, now, "owner"))

    def keys(records: Any) -> None:
        for key_id in ids["key_id"]:
            hashed = secrets.token_bytes(32)
            records.put(ApiKey(GLOBEX, key_id, "Key", Role.VIEWER, hashed, now, "owner"))

    database.catalog.write(GLOBEX, catalogue)
    database.keys.write(GLOBEX, keys)
    database.close()
    return ids


def test_ten_thousand_ids_of_another_tenant_tell_nothing(
    world: World, many: dict[str, list[str]]
) -> None:
    tried = 0
    for kind, ids in many.items():
        paths = [
            path for method, path in operations(world) if method == "GET" and f"{{{kind}}}" in path
        ]
        assert paths

        def request(path: str, one: str, kind: str = kind) -> bytes:
            values = {"alias": "champion", "version": "1", kind: one}
            return request_bytes(world.acme, "GET", path.format(**values))

        unknown = like(ids[0])
        expected = {
            path: told(answer, [unknown])
            for path in paths
            for answer in pipelined(world.acme, [request(path, unknown)])
        }
        assert {status for status, _, _ in expected.values()} == {404}
        turns = list(zip(cycle(paths), ids, strict=False))
        answers = pipelined(world.acme, [request(path, one) for path, one in turns])
        for (path, one), answer in zip(turns, answers, strict=True):
            assert told(answer, [one]) == expected[path], f"{path} of {one}"
            tried += 1
    assert tried >= ids_for(world)
    assert world.globex.http.get(f"/api/v1/models/{many['model'][-1]}").status_code == 200
