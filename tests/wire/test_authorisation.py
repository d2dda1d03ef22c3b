"""Every endpoint and gRPC method with a key of every role of three tenants, and without one; and
keys for some models only.
"""

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

from modelry.domain.access import DEFAULT_TENANT_ID, Permission, Role, effective_permissions
from modelry.protocols.oip.generated import open_inference_pb2 as pb
from modelry.protocols.oip.grpc_server import METHOD_PERMISSIONS, SERVICE, check_methods

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}

QUESTIONS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"prompt": "a"},
    "/v1/embeddings": {"input": "a"},
    "/v1/rerank": {"query": "a", "documents": ["a"]},
    "/v1/classify": {"text": "a"},
    "/v1/detect": {"image": "aGk="},
}


STRANGER, SUSPENDED = "stranger", "asleep"
TENANTS = (DEFAULT_TENANT_ID, STRANGER, SUSPENDED)


def client_of(server: Running, token: str | None) -> httpx2.Client:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=30)


def made_key(wired: Operator, role: str, deployments: list[str] | None = None) -> str:
    wanted = {"name": f"a {role}", "role": role, "deployments": deployments or []}
    return str(wired.call("POST", "/keys", json=wanted)["token"])


@pytest.fixture(scope="module")
def two_models(wired: Operator) -> Iterator[Running]:
    wired.serve("shown", multiplier(2))
    wired.serve("unseen", multiplier(2))
    yield wired.server
    wired.call("DELETE", "/deployments/unseen")


@pytest.fixture(scope="module")
def tokens(wired: Operator, two_models: Running) -> dict[tuple[str, Role], str]:
    """A key of every role in every tenant, one of which is suspended."""
    found = {(DEFAULT_TENANT_ID, role): made_key(wired, role) for role in Role}
    for tenant_id in (STRANGER, SUSPENDED):
        made = wired.call("POST", "/tenants", json={"tenant_id": tenant_id, "name": tenant_id})
        with client_of(two_models, made["owner"]["token"]) as owner:
            for role in Role:
                answer = owner.post("/api/v1/keys", json={"name": f"a {role}", "role": role})
                found[tenant_id, role] = answer.json()["token"]
    wired.call("POST", f"/tenants/{SUSPENDED}/suspend")
    return found


@pytest.fixture(scope="module")
def operations(wired: Operator) -> list[tuple[str, str, Permission]]:
    """Method, path and permission of everything that is listed."""
    paths = wired.http.get("/openapi.json").json()["paths"]
    found = [
        (method, path, Permission(operation["x-permission"]))
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    assert len(found) > 80
    return found


def url_of(path: str, *, there: bool) -> str:
    """A path with names in it: of a deployment that is there, or of nothing."""
    if not there:
        return re.sub(r"\{[^}]*\}", "nobody", path)
    path = path.replace("{model}", "shown").replace("{name}", "shown").replace("{version}", "1")
    return re.sub(r"\{[^}]*\}", "owner", path)


def body_of(path: str) -> dict[str, Any]:
    if path.endswith("/infer"):
        return {"inputs": [TENSOR]}
    return {"model": "shown", **QUESTIONS[path]} if path in QUESTIONS else {}


@pytest.mark.parametrize("tenant_id", TENANTS)
@pytest.mark.parametrize("role", list(Role))
def test_every_endpoint_with_every_role_of_every_tenant(
    wired: Operator,
    tokens: dict[tuple[str, Role], str],
    operations: list[tuple[str, str, Permission]],
    tenant_id: str,
    role: Role,
) -> None:
    rights = {*effective_permissions(tenant_id, role), Permission.PUBLIC}
    is_own = tenant_id == DEFAULT_TENANT_ID
    with client_of(wired.server, tokens[tenant_id, role]) as client:
        for method, path, permission in operations:
            url = url_of(path, there=not is_own)
            answer = client.request(method, url, json=body_of(path))
            cell = (tenant_id, role, method, url, answer.text[:300])
            if permission is Permission.PUBLIC:
                assert answer.status_code < 500, cell
                assert _is_not_about_rights(answer), cell
            elif tenant_id == SUSPENDED:
                assert answer.status_code == 403, cell
                assert "suspended" in answer.text, cell
            elif permission not in rights:
                assert answer.status_code == 403, cell
            elif not is_own and ("{" in path or path in QUESTIONS):
                # a body that is none is told before it is seen that nothing is there
                assert answer.status_code == 404 or ("{" in path and _tells_the_body(answer)), cell
            else:
                assert answer.status_code not in (401, 403), cell
                assert answer.status_code < 500, cell


def _is_not_about_rights(answer: httpx2.Response) -> bool:
    """Whether it is no refusal; a sign-in that fails is another matter than a key."""
    return answer.status_code not in (401, 403) or "sign_in_failed" in answer.text


def _tells_the_body(answer: httpx2.Response) -> bool:
    told = "is missing" in answer.text or "must be a list" in answer.text
    return answer.status_code in (400, 422) and told


@pytest.mark.parametrize("token", [None, "x" * 40, "mlry_live_000000000000_" + "a" * 49])
def test_without_a_valid_key_only_what_is_public_answers(
    wired: Operator, operations: list[tuple[str, str, Permission]], token: str | None
) -> None:
    with client_of(wired.server, token) as client:
        for method, path, permission in operations:
            answer = client.request(method, url_of(path, there=True), json=body_of(path))
            expected = permission is not Permission.PUBLIC
            assert _is_not_about_rights(answer) != expected, (method, path, answer.text)


def test_a_revoked_key_stops_working_at_once_at_every_door(wired: Operator) -> None:
    made = wired.call("POST", "/keys", json={"name": "short-lived", "role": "developer"})
    with client_of(wired.server, made["token"]) as client:
        for path in ("/v1/models", "/v2/models/nobody", "/api/v1/models"):
            assert client.get(path).status_code in (200, 404)
        wired.call("DELETE", f"/keys/{made['key']['key_id']}")
        for path in ("/v1/models", "/v2/models/nobody", "/api/v1/models"):
            assert client.get(path).status_code == 401


@pytest.mark.parametrize("role", ["inference", "developer"])
def test_a_key_for_some_models_has_no_part_in_others(
    wired: Operator, two_models: Running, role: str
) -> None:
    token = made_key(wired, role, ["shown"])
    with client_of(two_models, token) as client:
        listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert listed == ["shown"]
        for name, status in (("shown", 200), ("unseen", 404), ("nobody", 404)):
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
            answer = client.post(path, json={"model": "unseen", **body})
            assert answer.status_code == 404, path
        if role == "developer":
            assert "unseen" not in client.get("/metrics").text
            assert "unseen" not in client.get("/v2/models/stats").text
            assert "unseen" not in client.post("/v2/repository/index").text
            assert "unseen" not in client.get("/api/v1/deployments").text


@pytest.mark.parametrize("role", ["viewer", "auditor", "operator"])
def test_who_may_look_sees_states_and_statistics(
    wired: Operator, two_models: Running, role: str
) -> None:
    with client_of(two_models, made_key(wired, role)) as client:
        index = client.post("/v2/repository/index").json()
        assert {"shown", "unseen"} <= {one["name"] for one in index}
        for path in ("/v2/models/stats", "/v2/models/shown/stats"):
            assert "shown" in client.get(path).text
        assert 'deployment="shown"' in client.get("/metrics").text
        assert client.get("/v2/models/nobody/stats").status_code == 404


def grpc_code(server: Running, token: str | None, method: str, model: str) -> grpc.StatusCode:
    """What a method answers; a stream is asked one thing."""
    request = getattr(pb, f"{method}Request", pb.ModelInferRequest)()
    if isinstance(request, pb.ModelInferRequest):
        request.model_name = model
        request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        request.raw_input_contents.append(b"\0" * 12)
    elif "model_name" in request.DESCRIPTOR.fields_by_name:
        request.model_name = model
    elif "name" in request.DESCRIPTOR.fields_by_name:
        request.name = model
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(server.grpc) as channel:
        path = f"/{SERVICE}/{method}"
        try:
            if method == "ModelStreamInfer":
                stream = channel.stream_stream(
                    path,
                    request_serializer=pb.ModelInferRequest.SerializeToString,
                    response_deserializer=pb.ModelStreamInferResponse.FromString,
                )
                (answer,) = stream(iter([request]), metadata=metadata, timeout=30)
                told = answer.error_message
                return grpc.StatusCode.NOT_FOUND if "does not exist" in told else _ok(told)
            unary = channel.unary_unary(
                path,
                request_serializer=type(request).SerializeToString,
                response_deserializer=lambda raw: raw,
            )
            unary(request, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            status: Any = error
            found: grpc.StatusCode = status.code()
            return found
    return grpc.StatusCode.OK


def _ok(told: str) -> grpc.StatusCode:
    assert told == ""
    return grpc.StatusCode.OK


NAMELESS = {"RepositoryIndex"}
"""Methods that name no model."""


@pytest.mark.parametrize("method", sorted(METHOD_PERMISSIONS))
def test_every_grpc_method_with_every_role_of_every_tenant(
    two_models: Running, tokens: dict[tuple[str, Role], str], method: str
) -> None:
    permission, codes = METHOD_PERMISSIONS[method], grpc.StatusCode
    is_public = permission is Permission.PUBLIC
    for token in (None, "wrong"):
        code = grpc_code(two_models, token, method, "shown")
        assert code is (codes.OK if is_public else codes.UNAUTHENTICATED)
    for (tenant_id, role), token in tokens.items():
        code = grpc_code(two_models, token, method, "shown")
        if is_public:
            expected = codes.OK
        elif tenant_id == SUSPENDED or permission not in effective_permissions(tenant_id, role):
            expected = codes.PERMISSION_DENIED
        elif tenant_id == STRANGER and method not in NAMELESS:
            expected = codes.NOT_FOUND
        else:
            expected = codes.OK
        assert code is expected, (tenant_id, role)


def test_a_grpc_method_without_permission_is_not_served() -> None:
    with pytest.raises(TypeError, match="ModelForget declares no permission"):
        check_methods([*METHOD_PERMISSIONS, "ModelForget"])
    with pytest.raises(TypeError, match="not answered: ModelInfer"):
        check_methods([one for one in METHOD_PERMISSIONS if one != "ModelInfer"])


def test_grpc_keeps_limited_keys_to_their_models(wired: Operator, two_models: Running) -> None:
    some = made_key(wired, "inference", ["shown"])
    assert grpc_code(two_models, some, "ModelInfer", "shown") is grpc.StatusCode.OK
    assert grpc_code(two_models, some, "ModelInfer", "unseen") is grpc.StatusCode.NOT_FOUND
    assert grpc_code(two_models, some, "ModelStreamInfer", "unseen") is grpc.StatusCode.NOT_FOUND
