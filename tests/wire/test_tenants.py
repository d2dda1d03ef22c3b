"""Tenants side by side on one server: what is shared is called on every door, and nothing else;
who is suspended or no longer shared with is cut off.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx2
import pytest
from tests.support.operating import Operator, wait_until
from tests.support.server import Running
from tests.support.wire_models import multiplier

from modelry.protocols.oip.generated import open_inference_pb2 as pb
from modelry.protocols.oip.grpc_server import SERVICE

FOLLOWED_S = 5.0
"""What is promised: by then every server has followed a change."""
IMAGE = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5Er"
        "kJggg=="
    )
).decode()
TENSORS = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


@dataclass
class Guest:
    """Another tenant, and its owner's client."""

    tenant_id: str
    token: str
    http: httpx2.Client


@pytest.fixture
def guest(wired: Operator) -> Iterator[Guest]:
    tenant_id = f"guest-{secrets.token_hex(4)}"
    made = wired.call("POST", "/tenants", json={"tenant_id": tenant_id, "name": "Guest"})
    token = made["owner"]["token"]
    headers = {"authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=wired.server.url, headers=headers, timeout=60) as http:
        yield Guest(tenant_id, token, http)


@pytest.fixture(scope="module")
def tripled(wired: Operator) -> str:
    """A deployment that multiplies by three."""
    wired.serve("tripled", multiplier(3))
    return "tripled"


def share(wired: Operator, deployment: str, guest: Guest) -> str:
    """Share it; the grant's id."""
    wanted = {"deployment": deployment, "tenant_id": guest.tenant_id, "note": "a pilot"}
    return str(wired.call("POST", "/shares", json=wanted)["grant_id"])


def infer(guest: Guest, model: str = "tripled@default") -> httpx2.Response:
    return guest.http.post(f"/v2/models/{model}/infer", json=TENSORS)


def grpc_infer(server: Running, token: str, model: str) -> pb.ModelInferResponse:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    request.raw_input_contents.append(b"\0" * 12)
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answer: pb.ModelInferResponse = ask(
            request, metadata=(("authorization", f"Bearer {token}"),), timeout=30
        )
        return answer


def test_a_shared_deployment_is_called_on_every_door(
    wired: Operator, tripled: str, words: Running, colours: Running, guest: Guest
) -> None:
    assert infer(guest).status_code == 404
    for name in (tripled, "words", "colours"):
        share(wired, name, guest)
    listed = guest.http.get("/v1/models").json()["data"]
    assert [one["id"] for one in listed] == ["colours@default", "tripled@default", "words@default"]
    assert {one["owned_by"] for one in listed} == {"default"}
    answer = infer(guest)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_name"] == "tripled@default"
    assert answer.json()["outputs"][0]["data"] == [3, 6, 9]
    for path in ("tripled%40default", "tripled@default/versions/1"):
        assert infer(guest, path).status_code == 200, path
    assert guest.http.get("/v2/models/tripled@default").json()["name"] == "tripled@default"
    assert guest.http.get("/v2/models/tripled@default/ready").status_code == 200
    assert guest.http.get("/v1/models/tripled@default").json()["id"] == "tripled@default"
    assert grpc_infer(words, guest.token, "tripled@default").model_name == "tripled@default"
    for path, body in (
        ("/v1/embeddings", {"model": "words@default", "input": "red"}),
        ("/v1/classify", {"model": "colours@default", "image": IMAGE}),
    ):
        answer = guest.http.post(path, json=body)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json()["model"] == body["model"], path


def test_nothing_else_of_the_owner_is_seen(wired: Operator, tripled: str, guest: Guest) -> None:
    share(wired, tripled, guest)
    assert infer(guest).status_code == 200
    name = "tripled@default"
    for method, path in (
        ("GET", f"/v2/models/{name}/stats"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("POST", f"/v2/repository/models/{name}/unload"),
        ("GET", f"/api/v1/deployments/{name}"),
        ("GET", f"/api/v1/deployments/{name}/logs"),
        ("GET", f"/api/v1/deployments/{name}/replicas"),
        ("DELETE", f"/api/v1/deployments/{name}"),
        ("GET", "/api/v1/models/tripled"),
        ("GET", f"/api/v1/models/{name}"),
        ("GET", "/api/v1/models/tripled/versions/1"),
    ):
        body = None if method == "GET" or "/api" in path else {}
        answer = guest.http.request(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    for path in ("/metrics", "/v2/models/stats", "/api/v1/deployments", "/api/v1/models"):
        assert "tripled" not in guest.http.get(path).text, path
    assert "tripled" not in guest.http.post("/v2/repository/index").text
    received = guest.http.get("/api/v1/shares/received").json()["shares"]
    assert [(one["shared_name"], one["note"]) for one in received] == [(name, "a pilot")]
    assert guest.http.get("/api/v1/shares").json() == {"shares": []}
    # and the owner does not call its own by that name
    assert wired.http.post(f"/v2/models/{name}/infer", json=TENSORS).status_code == 404


def test_a_limited_key_needs_the_shared_name(wired: Operator, tripled: str, guest: Guest) -> None:
    share(wired, tripled, guest)
    for names, status in ((["tripled"], 404), (["tripled@default"], 200)):
        wanted = {"name": "k", "role": "inference", "deployments": names}
        made = guest.http.post("/api/v1/keys", json=wanted)
        assert made.status_code == 201, made.text
        headers = {"authorization": f"Bearer {made.json()['token']}"}
        answer = wired.http.post("/v2/models/tripled@default/infer", json=TENSORS, headers=headers)
        assert answer.status_code == status, names


def test_taking_it_back_ends_it_on_open_connections_too(
    wired: Operator, tripled: str, guest: Guest
) -> None:
    grant = share(wired, tripled, guest)
    wait_until(lambda: infer(guest).status_code == 200, "shared", FOLLOWED_S)
    wired.call("DELETE", f"/shares/{grant}")
    wait_until(lambda: infer(guest).status_code == 404, "taken back", FOLLOWED_S)
    with pytest.raises(grpc.RpcError) as told:
        grpc_infer(wired.server, guest.token, "tripled@default")
    assert told.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined] # a Call too
    assert guest.http.get("/v1/models").json()["data"] == []


def stream(guest: Guest, model: str) -> httpx2.Request:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me a long story about a mountain."}],
        "max_tokens": 900,
        "stream": True,
    }
    return guest.http.build_request("POST", "/v1/chat/completions", json=body)


def cut_off(wired: Operator, guest: Guest, method: str, path: str) -> dict[str, Any]:
    """The last event of a stream, during which `path` is called."""
    answer = guest.http.send(stream(guest, "chat@default"), stream=True)
    assert answer.status_code == 200, answer.read()
    last: dict[str, Any] = {}
    is_called = False
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            last = json.loads(line[6:])
            if not is_called:
                is_called = True
                wired.call(method, path)
    answer.close()
    return last


def test_a_suspended_tenant_is_cut_off(wired: Operator, chat: Running, guest: Guest) -> None:
    share(wired, "chat", guest)
    wait_until(
        lambda: guest.http.get("/v1/models/chat@default").status_code == 200, "shared", FOLLOWED_S
    )
    last = cut_off(wired, guest, "POST", f"/tenants/{guest.tenant_id}/suspend")
    assert last.get("error", {}).get("code") == "tenant_suspended", last
    answer = guest.http.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_suspended")
    assert infer(guest).status_code == 403
    with pytest.raises(grpc.RpcError) as told:
        grpc_infer(chat, guest.token, "chat@default")
    assert told.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined] # a Call too
    wired.call("POST", f"/tenants/{guest.tenant_id}/resume")
    wait_until(
        lambda: guest.http.get("/v1/models/chat@default").status_code == 200, "back", FOLLOWED_S
    )


def test_a_stream_ends_with_its_grant(wired: Operator, chat: Running, guest: Guest) -> None:
    grant = share(wired, "chat", guest)
    wait_until(
        lambda: guest.http.get("/v1/models/chat@default").status_code == 200, "shared", FOLLOWED_S
    )
    last = cut_off(wired, guest, "DELETE", f"/shares/{grant}")
    assert last.get("error", {}).get("code") == "model_not_found", last


def test_a_suspended_tenant_s_replicas_end_and_come_back(wired: Operator, guest: Guest) -> None:
    own = Operator(Running(**{**vars(wired.server), "key": guest.token}))
    own.serve("mine", multiplier(2))
    pid = own.pid_of("mine")
    assert pid in {worker.pid for worker in wired.server.workers()}
    wired.call("POST", f"/tenants/{guest.tenant_id}/suspend")
    wait_until(
        lambda: pid not in {worker.pid for worker in wired.server.workers()}, "it ends", 15.0
    )
    wired.call("POST", f"/tenants/{guest.tenant_id}/resume")
    wait_until(lambda: infer(guest, "mine").status_code == 200, "it is back", 30.0)
    assert own.pid_of("mine") != pid
    own.close()
