"""Two servers on one PostgreSQL with shared files: what one is told, the other does soon."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.operating import Operator, wait_until
from tests.support.postgres import PostgresDatabases, Urls
from tests.support.server import server, start
from tests.support.wire_models import multiplier

SOON_S = 5.0
"""The stated bound; it is waited for, not measured."""
TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}


class Pair:
    """Two running servers; either has a data folder of its own."""

    def __init__(self, first: Operator, second: Operator) -> None:
        self.first = first
        self.second = second


@pytest.fixture(scope="module")
def urls(postgres: PostgresDatabases) -> Iterator[Urls]:
    with postgres.empty() as urls:
        yield urls


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, urls: Urls) -> dict[str, str]:
    """Settings that all servers of one installation have in common."""
    folder = tmp_path_factory.mktemp("shared")
    return {
        "secrets": str(folder / "secrets"),
        "blobs": str(folder / "blobs"),
        **urls.settings,
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, shared: dict[str, str]) -> Iterator[Pair]:
    folder, key = tmp_path_factory.mktemp("servers"), secrets.token_urlsafe(32)
    with contextlib.ExitStack() as stack:
        operators = [
            stack.enter_context(
                Operator(stack.enter_context(server(folder / name, key=key, **shared)))
            )
            for name in ("first", "second")
        ]
        yield Pair(*operators)


def infer(operator: Operator, name: str, token: str | None = None) -> httpx2.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return operator.http.post(
        f"/v2/models/{name}/infer", json={"inputs": [TENSOR]}, headers=headers
    )


def factor(operator: Operator, name: str) -> Any:
    """What a multiplier multiplies with; None while it does not answer."""
    answer = infer(operator, name)
    return answer.json()["outputs"][0]["data"][0] if answer.is_success else None


def test_deployments_are_followed(pair: Pair) -> None:
    pair.first.register("times", multiplier(2))
    pair.first.register("times", multiplier(5))
    pair.first.deploy("times", model="times", version=1)
    wait_until(lambda: factor(pair.second, "times") == 2, "the other server serves it", 30)

    pair.second.deploy("times", version=2)
    wait_until(lambda: factor(pair.first, "times") == 5, "the first serves the new version", 30)

    pair.first.call("DELETE", "/deployments/times")
    wait_until(
        lambda: infer(pair.second, "times").status_code == 404, "it is gone on both", SOON_S + 5
    )


def test_files_are_shared(pair: Pair) -> None:
    digest = pair.first.upload(multiplier(7))
    file = {"name": "model.onnx", "digest": digest}
    body = {"file": file, "name": "sevenfold", "task": "tensor"}
    pair.second.call("POST", "/versions", json=body)
    pair.second.deploy("sevenfold")
    pair.second.load("sevenfold")
    assert factor(pair.second, "sevenfold") == 7


def test_an_upload_goes_on_at_the_other_server(pair: Pair) -> None:
    content = multiplier(11)
    half = len(content) // 2
    begun = pair.first.call("POST", "/uploads", json={"size_bytes": len(content)})
    path = f"/uploads/{begun['upload_id']}"
    pair.first.call("PATCH", path, content=content[:half], headers={"upload-offset": "0"})
    done = pair.second.call(
        "PATCH", path, content=content[half:], headers={"upload-offset": str(half)}
    )
    assert done["complete"]


def test_keys_are_followed(pair: Pair) -> None:
    pair.first.serve("double", multiplier(2))
    wait_until(lambda: factor(pair.second, "double") == 2, "the other server serves it", 30)
    minted = pair.first.call("POST", "/keys", json={"name": "app", "role": "inference"})
    token = minted["token"]
    wait_until(
        lambda: infer(pair.second, "double", token).status_code == 200, "it is valid", SOON_S + 5
    )
    pair.second.call("DELETE", f"/keys/{minted['key']['key_id']}")
    wait_until(
        lambda: infer(pair.first, "double", token).status_code == 401, "it is revoked", SOON_S + 5
    )


def test_tenants_and_shares_are_followed(pair: Pair) -> None:
    pair.first.serve("common", multiplier(3))
    wait_until(lambda: factor(pair.second, "common") == 3, "the other server serves it", 30)
    tenant = {"tenant_id": "guests", "name": "Guests"}
    token = pair.first.call("POST", "/tenants", json=tenant)["owner"]["token"]
    shared = {"deployment": "common", "tenant_id": "guests"}
    grant = pair.first.call("POST", "/shares", json=shared)

    def status() -> int:
        return infer(pair.second, "common@default", token).status_code

    wait_until(lambda: status() == 200, "the other server lets guests call it", SOON_S + 5)
    pair.first.call("DELETE", f"/shares/{grant['grant_id']}")
    wait_until(lambda: status() == 404, "it is not shared any more", SOON_S + 5)
    pair.first.call("POST", "/tenants/guests/suspend", json={})
    wait_until(lambda: status() == 403, "guests are suspended", SOON_S + 5)
    pair.second.call("POST", "/tenants/guests/resume", json={})
    whoami = {"authorization": f"Bearer {token}"}
    wait_until(
        lambda: pair.first.http.get("/api/v1/whoami", headers=whoami).status_code == 200,
        "guests are back",
        SOON_S + 5,
    )


def test_a_tenant_is_deleted_once(pair: Pair) -> None:
    made = pair.first.call("POST", "/tenants", json={"tenant_id": "doomed", "name": "Doomed"})
    headers = {"authorization": f"Bearer {made['owner']['token']}"}
    wait_until(
        lambda: pair.second.http.get("/api/v1/whoami", headers=headers).is_success, "known", SOON_S
    )
    begun = pair.second.call("POST", "/uploads", json={"size_bytes": 9}, headers=headers)
    path = f"/uploads/{begun['upload_id']}"
    bytes_sent = {"content": b"something", "headers": {**headers, "upload-offset": "0"}}
    pair.second.call("PATCH", path, **bytes_sent)
    pair.second.call("DELETE", "/tenants/doomed", params={"confirm": "Doomed"})
    wait_until(
        lambda: pair.first.call("GET", "/tenants/doomed/deletion")["stage"] == "done", "gone", 45
    )
    destroyed = pair.first.call("GET", "/tenants/doomed/deletion")["destroyed"]
    assert destroyed["files"] == destroyed["rows"]["blobs"] == 1
    assert destroyed["rows"]["tenants"] == destroyed["rows"]["api_keys"] == 1
    assert destroyed["rows"]["audit_entries"] > 1
    assert len(destroyed["encryption"]["data_keys"]) == 1
    wanted = {"action": "tenants.destroyed", "resource": "/tenants/doomed"}
    written = pair.first.http.get("/api/v1/audit/entries", params=wanted).json()["entries"]
    assert [one["detail"]["destroyed"] for one in written] == [destroyed]
    for operator in (pair.first, pair.second):
        ask = functools.partial(operator.http.get, "/api/v1/whoami", headers=headers)
        wait_until(lambda ask=ask: ask().status_code == 401, "nobody knows its key", SOON_S)
    assert (
        pair.second.http.post(
            "/api/v1/tenants", json={"tenant_id": "doomed", "name": "Again"}
        ).status_code
        == 409
    )


def test_the_ledger_counts_both(pair: Pair) -> None:
    pair.first.serve("counted", multiplier(2))
    wait_until(lambda: factor(pair.second, "counted") == 2, "the other server serves it", 30)
    before = counted(pair.first)
    for operator in (pair.first, pair.second, pair.second):
        assert factor(operator, "counted") == 2
    wait_until(lambda: counted(pair.first) >= before + 3, "all are in the ledger", 20)


def counted(operator: Operator) -> int:
    answer = operator.call("GET", "/usage", params={"group_by": "deployment"})
    return sum(
        one["units"]["requests"]
        for one in answer["usage"]
        if one["group"]["deployment"] == "counted"
    )


def test_a_server_with_other_secrets_is_refused(
    pair: Pair, shared: dict[str, str], tmp_path: Path
) -> None:
    """It would make every key of the others invalid."""
    with pytest.raises(AssertionError, match=r"secret|key"):
        start(tmp_path / "third", **{**shared, "secrets": str(tmp_path / "secrets")})
    assert pair.first.http.get("/api/v1/whoami").status_code == 200
    assert pair.second.http.get("/api/v1/whoami").status_code == 200


def test_a_copy_of_the_secrets_will_do(pair: Pair, shared: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(shared["secrets"], tmp_path / "secrets")
    settings = {**shared, "secrets": str(tmp_path / "secrets")}
    key = pair.first.server.key
    with server(tmp_path / "third", key=key, **settings) as running, Operator(running) as third:
        assert third.http.get("/api/v1/whoami").status_code == 200
