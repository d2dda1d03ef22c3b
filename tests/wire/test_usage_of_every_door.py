"""Every request to any inference route of any door leaves exactly one record, with what it used.

The routes come from the doors themselves: a new one without an example here fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import httpx2
import pytest
from tests.support.answering import Answering, build

from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.domain.usage import UsageRecord
from modelry.protocols.http.hot import hot_protocol
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.http.server import HttpServer, bind
from modelry.protocols.oip.generated import open_inference_pb2 as pb
from modelry.protocols.oip.grpc_server import InferenceServicer, start_grpc_server
from modelry.protocols.operations.metrics import exposition
from modelry.services.usage.segment_reader import SegmentReader
from modelry.services.usage.segments import segments_of

pytestmark = pytest.mark.anyio

SIGNATURE = Signature(
    (TensorSpec("x", Datatype.FP32, (-1, 2)),), (TensorSpec("x_out", Datatype.FP32, (-1, 2)),), True
)
TENSORS = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}]
}
TOKENS = {"input_tokens": 3, "output_tokens": 5, "cached_tokens": 2}
MESSAGES = [{"role": "user", "content": "one two"}]
EXAMPLES: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "/v1/chat/completions": ("assistant", {"messages": MESSAGES, "temperature": 0.5}, TOKENS),
    "/v1/completions": ("assistant", {"prompt": "one two"}, TOKENS),
    "/v1/embeddings": ("minilm", {"input": ["ab", "cde"]}, {"input_tokens": 5}),
    "/v1/rerank": ("minilm", {"query": "ab", "documents": ["cde"]}, {"input_tokens": 5}),
    "/v1/classify": ("mood", {"text": "nice"}, {"items": 1}),
    "/v1/explanations": ("mood", {"text": "a bb"}, {"explanations": 1, "model_calls": 7}),
    "/v1/detect": ("things", {"image": "iVBORw0KGgo="}, {"images": 1}),
    "/v1/tabular": ("sums", {"row": [1, 2]}, {"rows": 1}),
    "/v1/translate": ("polyglot", {"text": ["ab", "c"]}, {"input_tokens": 3, "output_tokens": 3}),
    "/v1/summarize": ("brief", {"text": "ab"}, {"input_tokens": 2, "output_tokens": 2}),
    "/v1/models/{model}:predict": ("mood", {"instances": ["nice"]}, {"items": 1}),
    "/v1/models/{model}:explain": (
        "mood",
        {"instances": ["a", {"text": "b"}]},
        {"explanations": 2, "model_calls": 14},
    ),
    "/v2/models/{model}/infer": ("echo", TENSORS, {"items": 3}),
    "/v2/models/{model}/versions/{version}/infer": ("echo", TENSORS, {"items": 3}),
    "/v2/models/{model}/explain": ("echo", TENSORS, {"explanations": 3, "model_calls": 12}),
    "/v2/models/{model}/versions/{version}/explain": (
        "echo",
        TENSORS,
        {"explanations": 3, "model_calls": 12},
    ),
}
"""Path → model, body, and the units that a request uses."""


class Served:
    """All doors on sockets, and the records that requests leave."""

    def __init__(self, answering: Answering, client: httpx2.AsyncClient, grpc_port: int) -> None:
        self.inference = answering.inference
        self.doors = answering.doors
        self.client = client
        self.grpc_port = grpc_port

    def records(self) -> list[UsageRecord]:
        """Those that came since the last time."""
        segments = segments_of(self.inference.meter.take(), "run", 1)
        return [one for kept in segments for one in SegmentReader("", kept.data).records()]

    async def one_record(self) -> UsageRecord:
        """The only record that came, now or within a moment; and no other follows."""
        found: list[UsageRecord] = []
        for _ in range(200):
            found += self.records()
            if found:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        found += self.records()
        (record,) = found
        assert self.inference.open_requests() == 0
        return record

    async def ask(self, path: str, key: str = "caller", **changes: Any) -> httpx2.Response:
        model, body, _ = EXAMPLES[path]
        url = path.format(model=model, version=1)
        if "{model}" not in path:
            body = {"model": model, **body}
        return await self.client.post(
            url,
            json=body | changes,
            headers={"authorization": f"Bearer {key}", "x-request-id": "mine"},
        )


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    answering = build(SIGNATURE)
    listener = bind("127.0.0.1", 0)
    server = HttpServer(
        answering.application, hot_protocol((answering.infer_route,)), listener, drain_s=1
    )
    await server.start()
    limits = DoorLimits(answering.inference.accounts)
    servicer = InferenceServicer(answering.inference, None, limits)  # type: ignore[arg-type] # no loading
    grpc_server, grpc_port = await start_grpc_server(servicer, "127.0.0.1:0", 2**20)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url) as client:
        yield Served(answering, client, grpc_port)
    await grpc_server.stop(0)
    await server.stop()


def check(record: UsageRecord, path: str, status: str = "ok") -> None:
    model, _, units = EXAMPLES[path]
    assert (record.request_id, record.key_id, record.status) == ("mine", "caller", status)
    assert (record.deployment, record.version_number) == (model, 1)
    told = {unit: count for unit, count in record.units.items() if unit != "engine_us"}
    if status == "ok":
        assert told == units
        assert record.replica_id == f"replica-of-{model}"
        assert record.duration_us > 0


async def test_every_route_has_an_example(served: Served) -> None:
    routes = {one.path for door in served.doors for one in door.endpoints if one.is_prediction}
    assert routes == set(EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES)
async def test_a_request_leaves_one_record(served: Served, path: str) -> None:
    answer = await served.ask(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == "mine"
    check(await served.one_record(), path)


@pytest.mark.parametrize("path", EXAMPLES)
async def test_so_does_one_that_is_refused(served: Served, path: str) -> None:
    assert (await served.ask(path, key="viewer")).status_code == 403
    record = await served.one_record()
    assert (record.key_id, record.status, record.units) == ("viewer", "permission_denied", {})
    answer = await served.ask(path, surprise=1)
    assert answer.status_code == 400, answer.text
    record = await served.one_record()
    assert (record.key_id, record.status) == ("caller", "unsupported_field")
    assert (await served.ask(path, key="nobody")).status_code == 401
    await asyncio.sleep(0.02)
    assert served.records() == []
    assert served.inference.meter.unauthenticated == 1
    told = exposition([], [], served.inference.meter).decode()
    assert "modelry_unauthenticated_requests_total 1.0" in told
    assert "unauthenticated" not in exposition([]).decode()


DEEP: Any = json.loads("[" * 300 + "]" * 300)
"""Nested deeper than what is sent on may be, if not deeper than what is read."""


@pytest.mark.parametrize("path", EXAMPLES)
async def test_what_is_nested_too_deeply_is_told_whichever_field_it_is_in(
    served: Served, path: str
) -> None:
    fields = {*EXAMPLES[path][1], "parameters", "background", "goal", "explain"}
    for field in fields:
        wishes_too = {"parameters": {"checks": False}} if "{model}" in path else {}
        answer = await served.ask(path, **{**wishes_too, field: DEEP})
        assert 400 <= answer.status_code < 500, (field, answer.text)
    for change in ({"model": "sums", "row": [DEEP]}, {"model": "assistant", "messages": [DEEP]}):
        answer = await served.ask(path, **change)
        assert 400 <= answer.status_code < 500, (change["model"], answer.text)
    wishes = {"model": "sums", "row": [1.0, 2.0], "text": None}
    for wish in ({"background": [DEEP]}, {"goal": {"above": DEEP}}, {"changeable": {"a": DEEP}}):
        answer = await served.ask(path, **wishes, **wish)
        assert 400 <= answer.status_code < 500, (wish.keys(), answer.text)


@pytest.mark.parametrize("path", EXAMPLES)
async def test_an_unknown_model_is_not_named(served: Served, path: str) -> None:
    if "{model}" in path:
        url = path.format(model="no-such-model", version=1)
        headers = {"authorization": "Bearer caller"}
        answer = await served.client.post(url, json=EXAMPLES[path][1], headers=headers)
    else:
        answer = await served.ask(path, model="no-such-model")
    assert answer.status_code == 404
    record = await served.one_record()
    assert (record.deployment, record.version_number, record.status) == ("", 0, "not_found")


async def test_a_full_queue_is_recorded_where_it_was_refused(served: Served) -> None:
    for path in ("/v2/models/{model}/infer", "/v1/classify"):
        model = EXAMPLES[path][0]
        route = next(one for one in served.inference.routes.all() if one.deployment.name == model)
        route.targets[0].group.meter.is_full = True
        assert (await served.ask(path)).status_code == 503
        route.targets[0].group.meter.is_full = False
        assert served.inference.meter.dropped == 1
        served.inference.meter.dropped = 0
        route.targets[0].group.close()
        assert (await served.ask(path)).status_code == 503
        check(await served.one_record(), path, "model_not_ready")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_stream_leaves_one_record_at_its_end(served: Served, path: str) -> None:
    answer = await served.ask(path, stream=True)
    assert answer.text.rstrip().endswith("[DONE]")
    record = await served.one_record()
    check(record, path)
    if "temperature" in EXAMPLES[path][1]:
        assert record.parameters["temperature"] == 0.5


async def test_an_explanation_in_a_stream_leaves_the_same_record(served: Served) -> None:
    path = "/v1/explanations"
    answer = await served.ask(path, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert json.loads(answer.text.rpartition("data: ")[2])["usage"] == EXAMPLES[path][2]
    check(await served.one_record(), path)


async def test_an_answer_with_its_explanation_leaves_one_record(served: Served) -> None:
    answer = await served.ask("/v1/classify", explain={"method": "shapley"})
    told = answer.json()
    assert told["results"][0]["labels"][0]["label"] == told["explanation"]["target"]["label"]
    assert told["explanation"]["method"] == "shapley"
    assert told["explanation"]["version"] == told["version"]
    record = await served.one_record()
    assert (record.units["items"], record.units["explanations"]) == (1, 1)
    assert record.units["model_calls"] == 7


async def test_a_request_of_several_calls_leaves_one_record(served: Served) -> None:
    answer = await served.ask("/v1/completions", prompt=["a", "b b", "c"])
    assert answer.status_code == 200
    record = await served.one_record()
    assert record.units["output_tokens"] == 15
    answer = await served.ask("/v1/completions", prompt=["a", "die", "wait"])
    assert answer.status_code == 500
    assert (await served.one_record()).status == "model_failed"


async def test_a_stream_that_is_left_counts_what_was_made_until_then(served: Served) -> None:
    body = {
        "model": "assistant",
        "messages": [{"role": "user", "content": "one two wait three"}],
        "stream": True,
    }
    headers = {"authorization": "Bearer caller"}
    url = "/v1/chat/completions"
    async with served.client.stream("POST", url, json=body, headers=headers) as answer:
        told = b""
        async for chunk in answer.aiter_bytes():
            told += chunk
            if b"two" in told:
                break
        assert served.records() == []
    record = await served.one_record()
    assert (record.status, record.deployment) == ("cancelled", "assistant")
    assert record.units["output_tokens"] == 2
    assert record.request_id == answer.headers["x-request-id"]


async def test_a_caller_that_leaves_before_the_answer_is_recorded(served: Served) -> None:
    body = {"model": "assistant", "messages": [{"role": "user", "content": "one wait"}]}
    asking = asyncio.create_task(
        served.client.post(
            "/v1/chat/completions", json=body, headers={"authorization": "Bearer caller"}
        )
    )
    while not served.inference.open_requests():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    asking.cancel()
    record = await served.one_record()
    assert record.status == "cancelled"
    assert record.units["output_tokens"] == 1
    assert record.replica_id == "replica-of-assistant"


def tensor_request(name: str = "echo", rows: int = 3) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=name)
    tensor = made.inputs.add(name="x", datatype="FP32", shape=[rows, 2])
    tensor.contents.fp32_contents.extend([1.0] * 6)
    return made


async def test_grpc_leaves_one_record_for_each_request(served: Served) -> None:
    metadata = (("authorization", "Bearer caller"), ("x-request-id", "mine"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        service = "/inference.GRPCInferenceService/"
        infer = channel.unary_unary(
            f"{service}ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        await infer(tensor_request(), metadata=metadata)
        check(await served.one_record(), "/v2/models/{model}/infer")
        for wrong, status in (
            (tensor_request("no-such-model"), "not_found"),
            (tensor_request(rows=4), "tensor_mismatch"),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await infer(wrong, metadata=metadata)
            assert (await served.one_record()).status == status
        with pytest.raises(grpc.aio.AioRpcError):
            await infer(tensor_request(), metadata=(("authorization", "Bearer viewer"),))
        assert (await served.one_record()).status == "permission_denied"
        with pytest.raises(grpc.aio.AioRpcError):
            await infer(tensor_request())
        assert served.records() == []
        stream = channel.stream_stream(
            f"{service}ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        sent = [tensor_request(), tensor_request("no-such-model"), tensor_request()]
        answers = [one async for one in stream(iter(sent), metadata=metadata)]
        assert len(answers) == 3
    records = served.records()
    assert [one.status for one in records].count("ok") == 2
    assert [one.status for one in records].count("not_found") == 1
    assert {one.request_id for one in records} == {"mine"}


async def test_binary_tensors_and_repeated_requests_are_counted_one_by_one(served: Served) -> None:
    for _ in range(5):
        answer = await served.ask("/v2/models/{model}/infer")
        assert answer.status_code == 200
    records = served.records()
    assert len(records) == 5
    assert sum(one.units["items"] for one in records) == 15
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [2, 2],
                 "parameters": {"binary_data_size": 16}},
            ]
        }
    ).encode()  # fmt: skip
    for _ in range(3):
        answer = await served.client.post(
            "/v2/models/echo/infer",
            content=head + b"\0" * 16,
            headers={
                "authorization": "Bearer caller",
                "inference-header-content-length": str(len(head)),
            },
        )
        assert answer.status_code == 200, answer.text
    records = served.records()
    assert [one.units["items"] for one in records] == [2, 2, 2]
    assert len({one.request_id for one in records}) == 3
