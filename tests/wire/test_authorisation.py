"""Every endpoint that the server lists, with a key of every role; and keys for some models only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import grpc
import httpx2
import pytest
from tests.support.operating import Operator
from tests.support.server import Running
from tests.support.wire_models import multiplier

from modelry.domain.access import ROLE_PERMISSIONS, Permission, Role
from modelry.protocols.oip.generated import open_inference_pb2 as pb

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}

QUESTIONS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"prompt": "a"},
    "/v1/embeddings": {"input": "a"},
    "/v1/rerank": {"query": "a", "documents": ["a"]},
    "/v1/classify": {"text": "a"},
    "/v1/detect": {"image": "aGk="},
}


def client_of(server: Running, token: str | None) -> httpx2.Client:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=30)


def made_key(wired: Operator, role: str, deployments: list[str] | None = None) -> str:
    wanted = {"name": f"a {role}", "role": role, "deployments": deployments or []}
    return str(wired.call("POST", "/keys", json=wanted)["token"])


@pytest.fixture(scope="module")
def operations(wired: Operator) -> list[tuple[str, str, Permission]]:
    """Method, URL with names of nothing, and permission of everything that is listed."""
    paths = wired.http.get("/openapi.json").json()["paths"]
    found = [
        (method, re.sub(r"\{[^}]*\}", "nobody", path), Permission(operation["x-permission"]))
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    assert len(found) > 50
    return found


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_the_table_says_and_no_more(
    wired: Operator, operations: list[tuple[str, str, Permission]], role: Role
) -> None:
    allowed = {*ROLE_PERMISSIONS[role], Permission.PUBLIC}
    with client_of(wired.server, made_key(wired, role)) as client:
        for method, url, permission in operations:
            answer = client.request(method, url, json={})
            assert answer.status_code < 500, (method, url, answer.text)
            is_refused = answer.status_code == 403
            assert is_refused == (permission not in allowed), (method, url, answer.text)


@pytest.mark.parametrize("token", [None, "x" * 40, "mlry_live_000000000000_" + "a" * 49])
def test_without_a_valid_key_only_what_is_public_answers(
    wired: Operator, operations: list[tuple[str, str, Permission]], token: str | None
) -> None:
    with client_of(wired.server, token) as client:
        for method, url, permission in operations:
            answer = client.request(method, url, json={})
            expected = permission is not Permission.PUBLIC
            assert (answer.status_code == 401) == expected, (method, url, answer.text)


def test_a_revoked_key_stops_working_at_once_at_every_door(wired: Operator) -> None:
    made = wired.call("POST", "/keys", json={"name": "short-lived", "role": "developer"})
    with client_of(wired.server, made["token"]) as client:
        for path in ("/v1/models", "/v2/models/nobody", "/api/v1/models"):
            assert client.get(path).status_code in (200, 404)
        wired.call("DELETE", f"/keys/{made['key']['key_id']}")
        for path in ("/v1/models", "/v2/models/nobody", "/api/v1/models"):
            assert client.get(path).status_code == 401


@pytest.fixture(scope="module")
def two_models(wired: Operator) -> Iterator[Running]:
    wired.serve("shown", multiplier(2))
    wired.serve("hidden", multiplier(2))
    yield wired.server
    wired.call("DELETE", "/deployments/hidden")


@pytest.mark.parametrize("role", ["inference", "developer"])
def test_a_key_for_some_models_has_no_part_in_others(
    wired: Operator, two_models: Running, role: str
) -> None:
    token = made_key(wired, role, ["shown"])
    with client_of(two_models, token) as client:
        listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert listed == ["shown"]
        for name, status in (("shown", 200), ("hidden", 404), ("nobody", 404)):
            url = f"/v2/models/{name}"
            asked: list[httpx2.Response] = [
                client.get(url),
                client.get(f"{url}/ready"),
                client.post(f"{url}/infer", json={"inputs": [TENSOR]}),
                client.post(f"{url}/versions/1/infer", json={"inputs": [TENSOR]}),
                client.get(f"/v1/models/{name}"),
            ]
            if role == "developer":
                asked += [
                    client.get(f"{url}/stats"),
                    client.get(f"/api/v1/deployments/{name}"),
                    client.get(f"/api/v1/deployments/{name}/logs"),
                    client.post(f"/v2/repository/models/{name}/load", json={}),
                ]
            assert {answer.status_code for answer in asked} == {status}, name
        for path, body in QUESTIONS.items():
            answer = client.post(path, json={"model": "hidden", **body})
            assert answer.status_code == 404, path
        if role == "developer":
            assert "hidden" not in client.get("/metrics").text
            assert "hidden" not in client.get("/v2/models/stats").text
            assert "hidden" not in client.post("/v2/repository/index").text
            assert "hidden" not in client.get("/api/v1/deployments").text


@pytest.mark.parametrize("role", ["viewer", "auditor", "operator"])
def test_who_may_look_sees_states_and_statistics(
    wired: Operator, two_models: Running, role: str
) -> None:
    with client_of(two_models, made_key(wired, role)) as client:
        index = client.post("/v2/repository/index").json()
        assert {"shown", "hidden"} <= {one["name"] for one in index}
        for path in ("/v2/models/stats", "/v2/models/shown/stats"):
            assert "shown" in client.get(path).text
        assert 'deployment="shown"' in client.get("/metrics").text
        assert client.get("/v2/models/nobody/stats").status_code == 404


def test_grpc_keeps_the_same_rules(wired: Operator, two_models: Running) -> None:
    def code(token: str, model: str) -> Any:
        request = pb.ModelInferRequest(model_name=model)
        request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        request.raw_input_contents.append(b"\0" * 12)
        with grpc.insecure_channel(two_models.grpc) as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            try:
                ask(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
            except grpc.RpcError as error:
                status: Any = error
                return status.code()
        return grpc.StatusCode.OK

    some = made_key(wired, "inference", ["shown"])
    assert code(some, "shown") is grpc.StatusCode.OK
    assert code(some, "hidden") is grpc.StatusCode.NOT_FOUND
    assert code(made_key(wired, "viewer"), "shown") is grpc.StatusCode.PERMISSION_DENIED
    assert code("wrong", "shown") is grpc.StatusCode.UNAUTHENTICATED
