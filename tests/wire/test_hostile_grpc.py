"""Bad input at the gRPC door: a status that says what is wrong, and the door stays open."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from tests.support.onnx_models import endless
from tests.support.operating import Operator, wait_until
from tests.support.wire_models import multiplier

from modelry.protocols.oip.generated import open_inference_pb2 as pb

METHOD = "/inference.GRPCInferenceService/"
Request = pb.ModelInferRequest


@pytest.fixture(scope="module")
def channel(wired: Operator) -> Iterator[grpc.Channel]:
    wired.serve("grpc-target", multiplier(2))
    with grpc.insecure_channel(wired.server.grpc) as opened:
        yield opened


def call(
    channel: grpc.Channel, wired: Operator, method: str, sent: bytes, key: bool = True
) -> bytes:
    """The bytes of an answer to bytes, whatever they are."""
    ask = channel.unary_unary(
        METHOD + method, request_serializer=bytes, response_deserializer=bytes
    )
    metadata = tuple(wired.server.headers.items()) if key else ()
    answer: bytes = ask(sent, metadata=metadata, timeout=20)
    return answer


def request(change: Callable[[Any], None] | None = None, raw: bytes | None = None) -> bytes:
    made = Request(model_name="grpc-target")
    made.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    made.raw_input_contents.append(b"\0" * 12 if raw is None else raw)
    if change is not None:
        change(made)
    return bytes(made.SerializeToString())


@pytest.fixture(autouse=True)
def goes_on(channel: grpc.Channel, wired: Operator) -> Iterator[None]:
    yield
    answer = pb.ModelInferResponse.FromString(call(channel, wired, "ModelInfer", request()))
    assert list(answer.raw_output_contents) == [b"\0" * 12]


def shaped(*sizes: int) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        made.inputs[0].shape[:] = sizes

    return change


def typed(field: str, *values: Any) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        del made.raw_input_contents[:]
        getattr(made.inputs[0].contents, field).extend(values)

    return change


def named(field: str, value: str) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        setattr(made.inputs[0] if field in ("name", "datatype") else made, field, value)

    return change


WRONG: dict[str, tuple[bytes, grpc.StatusCode]] = {
    "negative": (request(shaped(-1, 3)), grpc.StatusCode.INVALID_ARGUMENT),
    "overflowing": (request(shaped(2**62, 2**62)), grpc.StatusCode.INVALID_ARGUMENT),
    "empty and huge": (request(shaped(0, 2**62)), grpc.StatusCode.INVALID_ARGUMENT),
    "no shape": (request(shaped()), grpc.StatusCode.INVALID_ARGUMENT),
    "many dimensions": (request(shaped(*[1] * 100)), grpc.StatusCode.INVALID_ARGUMENT),
    "too few bytes": (request(raw=b"\0" * 11), grpc.StatusCode.INVALID_ARGUMENT),
    "too many bytes": (request(raw=b"\0" * 1300), grpc.StatusCode.INVALID_ARGUMENT),
    "two contents": (
        request(lambda made: made.raw_input_contents.append(b"")),
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    "no contents": (request(typed("fp32_contents")), grpc.StatusCode.INVALID_ARGUMENT),
    "other contents": (request(typed("int_contents", 1, 2, 3)), grpc.StatusCode.INVALID_ARGUMENT),
    "another name": (request(named("name", "z")), grpc.StatusCode.INVALID_ARGUMENT),
    "another type": (request(named("datatype", "FP7")), grpc.StatusCode.INVALID_ARGUMENT),
    "another model": (request(named("model_name", "nobody")), grpc.StatusCode.NOT_FOUND),
    "another version": (request(named("model_version", "99")), grpc.StatusCode.NOT_FOUND),
    "no version": (request(named("model_version", "../1")), grpc.StatusCode.NOT_FOUND),
    "nothing": (b"", grpc.StatusCode.NOT_FOUND),
}


@pytest.mark.parametrize(("sent", "status"), WRONG.values(), ids=WRONG)
def test_requests_that_do_not_fit(
    channel: grpc.Channel, wired: Operator, sent: bytes, status: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, wired, "ModelInfer", sent)
    error: Any = caught.value
    assert error.code() is status, error.details()
    assert error.details()


def test_bytes_that_are_no_message_end_in_a_status(channel: grpc.Channel, wired: Operator) -> None:
    noise = random.Random(3)
    for size in (1, 7, 100, 5000):
        for method in ("ModelInfer", "ModelMetadata", "RepositoryIndex", "ModelStatistics"):
            with pytest.raises(grpc.RpcError):
                call(channel, wired, method, noise.randbytes(size))


def test_messages_beyond_the_limit_and_unknown_methods(
    channel: grpc.Channel, wired: Operator
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, wired, "ModelInfer", request(raw=b"\0" * (100 * 2**20)))
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, wired, "ModelExplain", b"")
    error = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["ModelInfer", "RepositoryIndex", "ModelReady"])
def test_strangers_are_told(channel: grpc.Channel, wired: Operator, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, wired, method, b"", key=False)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_calls_that_are_left_stop_the_model(wired: Operator, channel: grpc.Channel) -> None:
    wired.serve("grpc-endless", bytes(endless().SerializeToString()))
    made = Request(model_name="grpc-endless")
    made.inputs.add(name="x", datatype="FP32", shape=[1])
    made.raw_input_contents.append(b"\0" * 4)
    ask = channel.unary_unary(
        METHOD + "ModelInfer", request_serializer=bytes, response_deserializer=bytes
    )
    metadata = tuple(wired.server.headers.items())
    sent = made.SerializeToString()
    left = [ask.future(sent, metadata=metadata, timeout=20) for _ in range(20)]
    wait_until(lambda: wired.open_requests() == 20, "the calls have arrived")
    with pytest.raises(grpc.RpcError) as caught:
        ask(sent, metadata=metadata, timeout=0.5)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for one in left:
        one.cancel()
    wait_until(lambda: wired.open_requests() == 0, "the calls are over", 5)
    wait_until(lambda: wired.replicas("grpc-endless")[0]["in_flight"] == 0, "the slot is free", 10)
    wired.call("DELETE", "/deployments/grpc-endless")


def test_what_is_not_grpc_does_not_disturb_it(wired: Operator) -> None:
    host, port = wired.server.grpc.rsplit(":", 1)
    for sent in (b"GET / HTTP/1.1\r\n\r\n", random.Random(5).randbytes(4000), b"\x16\x03\x01\0"):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(sent)


def test_answers_and_failures_tell_the_request_id(channel: grpc.Channel, wired: Operator) -> None:
    ask = channel.unary_unary(
        METHOD + "ModelInfer", request_serializer=bytes, response_deserializer=bytes
    )

    def told(sent: bytes, *metadata: tuple[str, str]) -> str:
        try:
            _, answer = ask.with_call(
                sent, metadata=(*wired.server.headers.items(), *metadata), timeout=20
            )
        except grpc.RpcError as failure:
            answer = failure
        return str(dict(answer.trailing_metadata())["x-request-id"])

    assert told(request(), ("x-request-id", "mine.1")) == "mine.1"
    assert told(request(shaped(1, 4)), ("x-request-id", "mine.2")) == "mine.2"
    assert told(request(), ("x-request-id", "not sound")).startswith("req_")
    assert told(request()) != told(request())
