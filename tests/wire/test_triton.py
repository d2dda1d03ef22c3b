"""NVIDIA's `tritonclient`, over HTTP and gRPC, drives the server unchanged."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tests.support.operating import Operator
from tests.support.server import Running
from tests.support.wire_models import DATATYPES, echo_of, multiplier
from tritonclient.utils import InferenceServerException

from modelry.protocols.oip.generated import open_inference_pb2 as pb

VALUES: dict[str, Any] = {
    "BOOL": np.array([[True, False], [False, True]]),
    "UINT8": np.array([[0, 255], [1, 2]], np.uint8),
    "UINT16": np.array([[0, 2**16 - 1], [1, 2]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1], [1, 2]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1], [1, 2]], np.uint64),
    "INT8": np.array([[-128, 127], [1, 2]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1], [1, 2]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1], [1, 2]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1], [1, 2]], np.int64),
    "FP16": np.array([[0.5, -65504], [1, 2]], np.float16),
    "FP32": np.array([[0.1, -3.4e38], [1, 2]], np.float32),
    "FP64": np.array([[0.1, 1.7e308], [1, 2]], np.float64),
    "BF16": np.array([[0.5, -3e38], [1, 2]], ml_dtypes.bfloat16),
    "BYTES": np.array([[b"n\xc3\xa9", b""], [b"a" * 300, b"\n"]], dtype=object),
}
TEXTS = np.array([["né", ""], ["a" * 300, "\n"]], dtype=object)
ECHOES = {
    "numbers": [name for name in VALUES if name != "BYTES"],
    "strings": ["BYTES", "FP32"],
}
"""ONNX Runtime cannot take strings and give BF16 in one run, hence two models."""
ROW = np.array([[1, 2, 3]], np.float32)


@dataclass
class Client:
    """One of the two clients with the key that each of its calls needs."""

    module: Any
    made: Any
    headers: dict[str, str]

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        # a copy: the HTTP client writes the sizes of its request into it
        return getattr(self.made, method)(*arguments, headers=dict(self.headers), **options)

    def dict_of(self, method: str, *arguments: Any, **options: Any) -> Any:
        as_json = {"as_json": True} if self.module is over_grpc else {}
        return self.call(method, *arguments, **as_json, **options)

    def input(self, name: str, value: Any, datatype: str = "FP32", **options: Any) -> Any:
        tensor = self.module.InferInput(name, list(value.shape), datatype)
        tensor.set_data_from_numpy(value, **options)
        return tensor


@pytest.fixture(scope="module")
def tensors(wired: Operator) -> Running:
    """The server with `twice` (version 1 doubles, 2 triples) and echoes of all datatypes."""
    wired.register("twice", multiplier(2))
    wired.register("twice", multiplier(3))
    traffic = [{"version": 1, "percent": 99.0}, {"version": 2, "percent": 1.0}]
    wired.deploy("twice", traffic=traffic)
    wired.load("twice")
    for name, datatypes in ECHOES.items():
        wired.serve(name, echo_of(*datatypes))
    return wired.server


@pytest.fixture(scope="module")
def http_client(tensors: Running) -> Iterator[Client]:
    made = over_http.InferenceServerClient(tensors.url.removeprefix("http://"))
    yield Client(over_http, made, tensors.headers)
    made.close()


@pytest.fixture(scope="module")
def grpc_client(tensors: Running) -> Iterator[Client]:
    made = over_grpc.InferenceServerClient(tensors.grpc)
    yield Client(over_grpc, made, tensors.headers)
    made.close()


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.getfixturevalue(f"{request.param}_client")
    return found


def test_health_and_metadata(client: Client) -> None:
    assert client.made.is_server_live()
    assert client.made.is_server_ready()
    assert client.call("is_model_ready", "twice")
    assert client.call("is_model_ready", "twice", "2")
    assert client.dict_of("get_server_metadata")["name"] == "modelry"
    told = client.dict_of("get_model_metadata", "twice")
    assert told["name"] == "twice"
    assert told["versions"] == ["1", "2"]
    assert told["inputs"][0]["name"] == "x"
    assert told["inputs"][0]["datatype"] == "FP32"
    assert [int(size) for size in told["inputs"][0]["shape"]] == [-1, 3]


@pytest.mark.parametrize("model", ECHOES)
def test_every_datatype_comes_back_as_it_went(client: Client, model: str) -> None:
    values = {name: VALUES[name] for name in ECHOES[model]}
    inputs = [client.input(f"in_{name}", value, name) for name, value in values.items()]
    outputs = [client.module.InferRequestedOutput(f"out_{name}") for name in values]

    for asked in (outputs, None):
        result = client.call("infer", model, inputs, outputs=asked, request_id="mine")
        for name, value in values.items():
            assert np.array_equal(result.as_numpy(f"out_{name}"), value), name
        response = result.get_response()
        assert (response["id"] if isinstance(response, dict) else response.id) == "mine"


@pytest.mark.parametrize("model", ECHOES)
def test_tensors_as_json_both_ways(http_client: Client, model: str) -> None:
    values = {name: VALUES[name] for name in ECHOES[model]}
    inputs = [
        http_client.input(f"in_{name}", value, name, binary_data=name == "BF16")
        for name, value in values.items()
        if name != "BYTES"
    ]
    if model == "strings":
        values["BYTES"] = TEXTS
        inputs.append(http_client.input("in_BYTES", TEXTS, "BYTES", binary_data=False))
    outputs = [
        over_http.InferRequestedOutput(f"out_{name}", binary_data=name == "BF16") for name in values
    ]
    result = http_client.call("infer", model, inputs, outputs=outputs)
    for name, value in values.items():
        assert np.array_equal(result.as_numpy(f"out_{name}"), value), name


def test_the_version_in_the_path_answers(client: Client) -> None:
    for version, factor in (("1", 2), ("2", 3)):
        result = client.call("infer", "twice", [client.input("x", ROW)], model_version=version)
        assert np.array_equal(result.as_numpy("y"), ROW * factor)
    with pytest.raises(InferenceServerException, match="does not serve version 9"):
        client.call("infer", "twice", [client.input("x", ROW)], model_version="9")


def test_an_empty_batch_and_a_large_one(client: Client) -> None:
    for rows in (0, 1, 20_000):
        value = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        result = client.call("infer", "twice", [client.input("x", value)], model_version="1")
        assert np.array_equal(result.as_numpy("y"), value * 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one.input("x", np.zeros((1, 4), "f4")), "shape"),
        (lambda one: one.input("x", np.zeros((3,), "f4")), "shape"),
        (lambda one: one.input("x", np.zeros((1, 3), "f8"), "FP64"), "FP64"),
        (lambda one: one.input("z", ROW), "z"),
    ],
    ids=["another size", "another rank", "another datatype", "another name"],
)
def test_what_does_not_fit_the_signature_is_told(
    client: Client, change: Callable[[Client], Any], told: str
) -> None:
    with pytest.raises(InferenceServerException, match=told):
        client.call("infer", "twice", [change(client)])


def test_declared_and_real_sizes_that_differ_are_told(client: Client) -> None:
    tensor = client.input("x", ROW)
    tensor.set_shape([2, 3])
    with pytest.raises(InferenceServerException, match="24"):
        client.call("infer", "twice", [tensor])


def test_who_has_no_key_is_told(client: Client) -> None:
    stranger = Client(client.module, client.made, {})
    for method, arguments in (("infer", ("twice", [client.input("x", ROW)])),):
        with pytest.raises(InferenceServerException, match="API key"):
            stranger.call(method, *arguments)
    with pytest.raises(InferenceServerException, match="API key"):
        stranger.call("get_model_repository_index")


def test_unknown_models_are_told(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="does not exist"):
        client.call("infer", "nobody", [client.input("x", ROW)])
    with pytest.raises(InferenceServerException, match="does not exist"):
        client.dict_of("get_model_metadata", "nobody")


def test_requests_in_flight_together(client: Client) -> None:
    if client.module is over_http:
        waiting = [
            client.call("async_infer", "twice", [client.input("x", ROW + at)], model_version="1")
            for at in range(20)
        ]
        results = [one.get_result() for one in waiting]
    else:
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for at in range(20):
            client.call(
                "async_infer",
                "twice",
                [client.input("x", ROW + at)],
                lambda result, error: arrived.put(error or result),
                model_version="1",
                request_id=str(at),
            )
        told = [arrived.get(timeout=20) for _ in range(20)]
        results = sorted(told, key=lambda result: int(result.get_response().id))
    for at, result in enumerate(results):
        assert np.array_equal(result.as_numpy("y"), (ROW + at) * 2)


def test_statistics_count_what_was_answered(client: Client) -> None:
    def told() -> tuple[int, int]:
        stats = client.dict_of("get_inference_statistics", "twice", "2")["model_stats"][0]
        ended = stats["inference_stats"]
        return int(ended["success"].get("count", 0)), int(ended["success"].get("ns", 0))

    count, duration = told()
    client.call("infer", "twice", [client.input("x", ROW)], model_version="2")
    assert told()[0] == count + 1
    assert told()[1] > duration
    everything = client.dict_of("get_inference_statistics")["model_stats"]
    assert {"twice", "numbers"} <= {one["name"] for one in everything}


def test_the_repository_lists_loads_and_unloads(client: Client, wired: Operator) -> None:
    def states() -> dict[str, str]:
        index = client.dict_of("get_model_repository_index")
        entries = index if isinstance(index, list) else index["models"]
        return {f"{one['name']}@{one['version']}": one["state"] for one in entries}

    assert states()["numbers@1"] == "READY"
    wired.call("POST", "/deployments/numbers/scale", json={"min_replicas": 0, "max_replicas": 1})
    client.call("unload_model", "numbers")
    assert states()["numbers@1"] != "READY"
    assert not client.call("is_model_ready", "numbers")
    client.call("load_model", "numbers")
    assert states()["numbers@1"] == "READY"
    with pytest.raises(InferenceServerException, match="nobody"):
        client.call("load_model", "nobody")


def test_a_grpc_stream_answers_in_turn_and_survives_a_failure(
    grpc_client: Client, tensors: Running
) -> None:
    arrived: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with over_grpc.InferenceServerClient(tensors.grpc) as streaming:
        streaming.start_stream(
            lambda result, error: arrived.put((result, error)), headers=tensors.headers
        )
        wrong = grpc_client.input("x", np.zeros((1, 4), "f4"))
        for tensor in (grpc_client.input("x", ROW), wrong, grpc_client.input("x", ROW * 2)):
            streaming.async_stream_infer("twice", [tensor], model_version="1")
        first, failed, last = (arrived.get(timeout=20) for _ in range(3))
        streaming.stop_stream()

    assert np.array_equal(first[0].as_numpy("y"), ROW * 2)
    assert "shape" in failed[1].message()
    assert np.array_equal(last[0].as_numpy("y"), ROW * 4)


def test_typed_contents_over_grpc(tensors: Running) -> None:
    """Clients other than Triton's send numbers in typed fields; our messages live beside theirs."""
    request = pb.ModelInferRequest(model_name="twice", model_version="1")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    tensor.contents.fp32_contents.extend([1, 2, 3])
    with grpc.insecure_channel(tensors.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        metadata = tuple(tensors.headers.items())
        answer = infer(request, metadata=metadata, timeout=20)
        assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 4, 6]
        tensor.contents.fp32_contents.append(4)
        with pytest.raises(grpc.RpcError, match="4 elements"):
            infer(request, metadata=metadata, timeout=20)


def test_every_datatype_of_the_protocol_is_tested() -> None:
    assert set(VALUES) == set(DATATYPES)
