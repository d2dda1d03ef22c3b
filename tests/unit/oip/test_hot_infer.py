"""Infer on the hot path: what a connection remembers must not outlive keys and routes."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pytest
from tests.support.hot_connection import HotConnection, post

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.catalog import Version
from modelry.domain.deployments import Deployment, Limits, Scale, TrafficShare
from modelry.domain.quotas import QuotaLimits
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip.hot import InferRoute
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.routing import Route, RouteTable, Target
from modelry.services.inference.service import InferenceService
from modelry.testing.replica_pool import FakeLink

pytestmark = pytest.mark.anyio

OWNER = Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])
SIGNATURE = Signature(
    (TensorSpec("x", Datatype.FP32, (-1, 2)),), (TensorSpec("y", Datatype.FP32, (-1, 2)),), True
)
NOW = datetime.now(UTC)
URL = "/v2/models/m/infer"


class Key:
    expires_at = None

    def principal(self):
        return OWNER


class Keys:
    def __init__(self):
        self.valid = {b"secret": Key()}

    def digest(self, token):
        return token

    def snapshot(self):
        return KeySnapshot(self.valid, {}, {})


def doubled(call):
    inputs = orjson.loads(call.header)["inputs"]
    body = (np.frombuffer(call.body, np.float32) * 2).tobytes()
    return orjson.dumps({"outputs": [inputs[0] | {"name": "y"}]}), body


class Served:
    """One deployment behind a connection; every call is answered with twice its input."""

    def __init__(self):
        self.keys = Keys()
        self.called = []
        self.inference = InferenceService(Authenticator(self.keys), RouteTable())
        self.deploy(1)
        self.connection = HotConnection(
            InferRoute(self.inference, DoorLimits(self.inference.accounts), 10_000)
        )

    def noting(self, call):
        self.called.append(call)
        return doubled(call)

    def deploy(self, number):
        version = Version(
            "t1", "m", number, f"sha256:{number}", "tensor", "onnx", {}, SIGNATURE, (), NOW, "k1",
            "test",
        )  # fmt: skip
        share = TrafficShare(number)
        deployment = Deployment("t1", "m", "m", (share,), Scale(), Limits(), NOW, NOW)
        accounts = self.inference.accounts
        group = ReplicaGroup(("t1", "m", number, "tensor"), Limits(), accounts, lambda: None)
        group.attach(FakeLink("r1", group, self.noting, capacity=100))
        target = Target(deployment, version, group)
        self.inference.routes.swap({("t1", "m"): Route(deployment, (target,), (100.0,))})

    async def ask(self, body, *lines, url=URL, key="secret"):
        self.connection.feed(post(url, body, f"Authorization: Bearer {key}", *lines))
        await asyncio.sleep(0.01)
        ((status, payload),) = self.connection.answers()
        return status, payload


@pytest.fixture
async def served():
    served = Served()
    yield served
    served.connection.lose()


def as_json(*numbers, shape=(1, 2), **more):
    tensor = {"name": "x", "datatype": "FP32", "shape": list(shape), "data": list(numbers)}
    return orjson.dumps({"inputs": [tensor], **more})


def as_binary(*numbers):
    raw = np.array(numbers, np.float32).tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(numbers)]}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return head + raw, f"Inference-Header-Content-Length: {len(head)}"


def numbers_of(payload):
    return orjson.loads(payload)["outputs"][0]["data"]


async def test_json_and_binary_repeat_with_other_numbers(served):
    for a, b in ((1, 2), (3, 4), (5, 6)):
        status, payload = await served.ask(as_json(a, b))
        assert (status, numbers_of(payload)) == (200, [2 * a, 2 * b])
        status, payload = await served.ask(*as_binary(a, b))
        assert status == 200
        assert np.frombuffer(payload[-8:], np.float32).tolist() == [2 * a, 2 * b]


async def test_ids_are_echoed_each_with_its_own_answer(served):
    for name in ("one", "two"):
        status, payload = await served.ask(as_json(1, 2, id=name))
        assert status == 200
        assert orjson.loads(payload)["id"] == name


async def test_a_bad_request_between_good_ones_fails_alone(served):
    for body in (as_json(1, 2), as_json(1, "x"), as_json(1, 2), as_json(1, None), as_json(1)):
        status, payload = await served.ask(body)
        assert status == (200 if body == as_json(1, 2) else 400), payload
    body, length = as_binary(1, 2)
    for sent, expected in ((body, 200), (body[:-1] + b"", 400), (body, 200)):
        assert (await served.ask(sent, length))[0] == expected


async def test_a_revoked_key_is_refused_on_an_open_connection(served):
    for _ in range(3):
        assert (await served.ask(as_json(1, 2)))[0] == 200
    served.keys.valid = {}
    served.inference.authenticator.refresh()
    status, payload = await served.ask(as_json(1, 2))
    assert status == 401
    assert "error" in orjson.loads(payload)


async def test_a_key_that_expires_is_refused_at_its_time(served):
    served.keys.valid[b"secret"].expires_at = datetime.now(UTC) + timedelta(seconds=0.3)
    served.inference.authenticator.refresh()
    assert (await served.ask(as_json(1, 2)))[0] == 200
    assert (await served.ask(as_json(1, 2)))[0] == 200
    await asyncio.sleep(0.3)
    assert (await served.ask(as_json(1, 2)))[0] == 401


async def test_a_changed_deployment_answers_on_an_open_connection(served):
    for number in (1, 2):
        served.deploy(number)
        for _ in range(2):
            _, payload = await served.ask(as_json(1, 2))
            assert orjson.loads(payload)["model_version"] == str(number)
    served.inference.routes.swap({})
    assert (await served.ask(as_json(1, 2)))[0] == 404


async def test_another_key_on_the_same_connection_is_looked_at(served):
    assert (await served.ask(as_json(1, 2)))[0] == 200
    assert (await served.ask(as_json(1, 2), key="public"))[0] == 401
    assert (await served.ask(as_json(1, 2)))[0] == 200


async def test_versions_and_encodings_are_checked(served):
    assert (await served.ask(as_json(1, 2), url="/v2/models/m/versions/1/infer"))[0] == 200
    assert (await served.ask(as_json(1, 2), url="/v2/models/m/versions/2/infer"))[0] == 404
    assert (await served.ask(as_json(1, 2), "Content-Encoding: gzip"))[0] == 400
    for length in ("-1", "99999", "x"):
        line = f"Inference-Header-Content-Length: {length}"
        assert (await served.ask(as_json(1, 2), line))[0] == 400


async def test_an_answer_tells_the_id_that_its_call_had(served):
    for lines in ((), ("X-Request-Id: mine",), ("X-Request-Id: no id",), ()):
        served.connection.feed(post(URL, as_json(1, 2), "Authorization: Bearer secret", *lines))
        await asyncio.sleep(0.01)
        head = served.connection.transport.written
        served.connection.answers()
        assert b"\r\nx-request-id: %s\r\n" % served.called[-1].request_id in head
    ids = [call.request_id for call in served.called]
    assert ids[1] == b"mine"
    assert len(set(ids)) == 4


async def test_a_connection_lets_a_forgotten_account_go(served):
    accounts, budget = served.inference.accounts, QuotaLimits(requests_per_day=1)
    for _ in range(2):  # the second is recognised by its bytes
        assert (await served.ask(as_json(1, 2)))[0] == 200
    accounts.apply({("t1", "other"): budget})
    assert (await served.ask(as_json(1, 2)))[0] == 200
    accounts.apply({("t1", "k1"): budget})
    assert [(await served.ask(as_json(1, 2)))[0] for _ in range(2)] == [200, 429]
    accounts.apply({})
    assert (await served.ask(as_json(1, 2)))[0] == 200
