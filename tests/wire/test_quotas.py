"""Limits at every door: what is counted, what is refused, and what is told about it."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import grpc
import httpx2
import openai
import pytest
from PIL import Image
from tests.support import sequence_models
from tests.support.operating import Operator, wait_until
from tests.support.server import Running
from tests.support.task_models import linear_classifier
from tests.support.wire_models import DETECTOR_MANIFEST, left_half_detector, multiplier

from modelry.adapters.data_folder import DataFolder
from modelry.adapters.sql.database import open_database
from modelry.client import Client
from modelry.client.errors import QuotaExceeded
from modelry.domain.prices import Price
from modelry.explaining.asked import Asked
from modelry.explaining.contract import Wish
from modelry.protocols.oip.generated import open_inference_pb2 as pb

TENSOR = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
STREAM = f"/{SERVICE}/ModelStreamInfer"


def picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


TYPED = (
    "/v1/classify", "/v1/detect", "/v1/explanations", "/v1/summarize", "/v1/tabular",
    "/v1/translate",
)  # fmt: skip
SEQUENCE_FILES = (
    "{model: seq2seq.json, encoder: encoder.onnx, decoder: decoder.onnx, tokenizer: tokenizer.json}"
)
QUESTIONS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "/v1/chat/completions": [
        ("", {"model": "chat", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}),
        (
            "",
            {
                "model": "chat",
                "messages": [{"role": "user", "content": "a"}],
                "max_tokens": 2,
                "stream": True,
            },
        ),
    ],
    "/v1/completions": [
        ("", {"model": "chat", "prompt": "a", "max_tokens": 2}),
        ("", {"model": "chat", "prompt": "a", "max_tokens": 2, "stream": True}),
    ],
    "/v1/embeddings": [("", {"model": "words", "input": "cat"})],
    "/v1/rerank": [("", {"model": "words", "query": "cat", "documents": ["dog"]})],
    "/v1/classify": [("", {"model": "colours", "image": picture()})],
    "/v1/detect": [("", {"model": "bounded-halves", "image": picture()})],
    "/v1/explanations": [("", {"model": "colours", "image": picture()})],
    "/v1/tabular": [("", {"model": "bounded-columns", "row": [1.0, 2.0, 3.0]})],
    "/v1/summarize": [("", {"model": "bounded-summaries", "text": "the cat"})],
    "/v1/translate": [("", {"model": "bounded-words", "text": "the cat"})],
    "/v1/models/{model}:predict": [
        ("/v1/models/bounded:predict", {"instances": [[1, 2, 3]]}),
    ],
    "/v1/models/{model}:explain": [
        ("/v1/models/colours:explain", {"instances": [picture()]}),
    ],
    "/v2/models/{model}/explain": [("/v2/models/bounded/explain", {"inputs": [TENSOR]})],
    "/v2/models/{model}/versions/{version}/explain": [
        ("/v2/models/bounded/versions/1/explain", {"inputs": [TENSOR]})
    ],
    "/v2/models/{model}/infer": [
        ("/v2/models/bounded/infer", {"inputs": [TENSOR]}),
        ("/v2/models/bounded/infer?asgi=1", {"inputs": [TENSOR]}),
    ],
    "/v2/models/{model}/versions/{version}/infer": [
        ("/v2/models/bounded/versions/1/infer", {"inputs": [TENSOR]})
    ],
}
"""A good request of every kind to every route that predicts; "" is the route's own path. A query
string takes an infer request off the hot path."""


class Caller:
    """A key of its own, its limits, and what is left of them."""

    def __init__(self, wired: Operator, role: str = "inference", **limits: float) -> None:
        self._wired = wired
        made = wired.call("POST", "/keys", json={"name": "bounded", "role": role})
        self.token: str = made["token"]
        self.key_id: str = made["key"]["key_id"]
        self.limit(**limits)
        headers = {"authorization": f"Bearer {self.token}"}
        self.http = httpx2.Client(base_url=wired.server.url, headers=headers, timeout=60)
        self.metadata = (("authorization", f"Bearer {self.token}"),)

    def limit(self, **limits: float) -> None:
        self._wired.call("PUT", f"/quotas/keys/{self.key_id}", json=limits)

    def left(self, unit: str) -> float:
        own = self.http.get("/api/v1/quotas").json()["quotas"][0]
        return float(own["left"][unit]["remaining"])


Make = Callable[..., Caller]


@pytest.fixture
def caller_with(wired: Operator) -> Iterator[Make]:
    """Makes callers with limits."""
    made: list[Caller] = []

    def make(**limits: Any) -> Caller:
        made.append(Caller(wired, **limits))
        return made[-1]

    yield make
    for caller in made:
        caller.http.close()


@pytest.fixture(scope="module")
def models(wired: Operator, chat: Running, words: Running, colours: Running) -> Operator:
    wired.serve("bounded", multiplier(2))
    manifest = DETECTOR_MANIFEST.format(name="bounded-halves")
    wired.register_manifest(manifest, {"model": left_half_detector()})
    wired.deploy("bounded-halves")
    wired.load("bounded-halves")
    wired.register(
        "bounded-columns", linear_classifier([0, 1, 2]).SerializeToString(), task="tabular"
    )
    wired.deploy("bounded-columns")
    wired.load("bounded-columns")
    for name, task in (("bounded-words", "translation"), ("bounded-summaries", "summarization")):
        manifest = f"name: {name}\ntask: {task}\nfiles: {SEQUENCE_FILES}\n"
        wired.register_manifest(manifest, sequence_models.files())
        wired.deploy(name)
        wired.load(name)
    return wired


@pytest.fixture(scope="module")
def channel(wired: Operator) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(wired.server.grpc) as opened:
        yield opened


def predicting(wired: Operator) -> list[str]:
    """The paths of all routes that predict, as the server lists them."""
    paths = wired.http.get("/openapi.json").json()["paths"]
    return sorted(
        path
        for path, operations in paths.items()
        if not path.startswith("/api/")
        and operations.get("post", {}).get("x-permission") == "inference:call"
    )


def grpc_request() -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(fp32_contents=[1, 2, 3])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype="FP32", shape=[1, 3], contents=contents
    )
    return pb.ModelInferRequest(model_name="bounded", inputs=[tensor])


def test_every_route_that_predicts_is_known_here(wired: Operator) -> None:
    assert predicting(wired) == sorted(QUESTIONS)


@pytest.mark.parametrize("path", QUESTIONS)
def test_every_route_counts(models: Operator, path: str, caller_with: Make) -> None:
    caller = caller_with(requests_per_day=1000)
    for asked, (url, body) in enumerate(QUESTIONS[path], start=1):
        answer = caller.http.post(url or path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-ratelimit-limit-requests"] == "1000"
        assert int(answer.headers["x-ratelimit-remaining-requests"]) == 1000 - asked
        assert caller.left("requests") == 1000 - asked


@pytest.mark.parametrize("path", QUESTIONS)
def test_every_route_refuses_in_its_own_shape(
    models: Operator, path: str, caller_with: Make
) -> None:
    caller = caller_with(requests_per_second=0.02, request_burst=1)
    assert caller.http.post("/v2/models/bounded/infer", json={"inputs": [TENSOR]}).is_success
    for url, body in QUESTIONS[path]:
        answer = caller.http.post(url or path, json=body)
        assert answer.status_code == 429, answer.text
        assert 40 <= int(answer.headers["retry-after"]) <= 50
        exact_ms = int(answer.headers["retry-after-ms"])
        assert 0 <= int(answer.headers["retry-after"]) * 1000 - exact_ms < 1000
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert answer.headers["x-ratelimit-reset-requests"].endswith("ms")
        error = answer.json()["error"]
        if path.startswith(("/v2", "/v1/models/")):
            assert error.startswith("This key may use 0.02 requests per second")
        elif path in TYPED:
            assert error["code"] == "quota_exceeded"
        else:
            assert error["code"] == error["type"] == "rate_limit_exceeded"


@pytest.mark.parametrize("path", QUESTIONS)
def test_what_cannot_be_read_counts_once_and_is_not_read_for_ever(
    models: Operator, path: str, caller_with: Make
) -> None:
    caller = caller_with(requests_per_second=0.02, request_burst=3)
    url = QUESTIONS[path][0][0] or path
    answers = [caller.http.post(url, content=b'{"model": ') for _ in range(4)]
    assert [one.status_code for one in answers] == [400, 400, 400, 429], answers[0].text
    left = [one.headers["x-ratelimit-remaining-requests"] for one in answers]
    assert left == ["2", "1", "0", "0"]
    assert 40 <= int(answers[3].headers["retry-after"]) <= 50


@pytest.mark.parametrize("query", ["", "?asgi=1"])
def test_models_that_are_not_there_count(models: Operator, caller_with: Make, query: str) -> None:
    caller = caller_with(requests_per_second=0.02, request_burst=2)
    answers = [
        caller.http.post(f"/v2/models/nobody/infer{query}", json={"inputs": [TENSOR]})
        for _ in range(3)
    ]
    assert [one.status_code for one in answers] == [404, 404, 429]


def test_what_fails_in_the_engine_counts_once(models: Operator, caller_with: Make) -> None:
    caller = caller_with(requests_per_day=10)
    body = {"model": "colours", "image": base64.b64encode(b"no picture").decode()}
    assert caller.http.post("/v1/classify", json=body).status_code == 400
    assert caller.left("requests") == 9


def test_keys_that_may_not_predict_use_up_nothing(models: Operator) -> None:
    made = models.call("POST", "/keys", json={"name": "watcher", "role": "viewer"})
    models.call("PUT", "/quotas/tenants/default", json={"requests_per_day": 10})
    try:
        headers = {"authorization": f"Bearer {made['token']}"}
        url = f"{models.server.url}/v1/embeddings"
        assert httpx2.post(url, headers=headers, content=b"{").status_code == 403
        quotas = models.call("GET", "/quotas")["quotas"]
        assert quotas[1]["left"]["requests"]["remaining"] == 10
    finally:
        models.call("PUT", "/quotas/tenants/default", json={})


def test_grpc_requests_that_fit_no_model_count(
    models: Operator, channel: grpc.Channel, caller_with: Make
) -> None:
    unary = channel.unary_unary(
        INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    stream = channel.stream_stream(
        STREAM, pb.ModelInferRequest.SerializeToString, pb.ModelStreamInferResponse.FromString
    )
    caller = caller_with(requests_per_second=0.02, request_burst=3)
    wrong = pb.ModelInferRequest(model_name="bounded")
    with pytest.raises(grpc.RpcError) as caught:
        unary(wrong, metadata=caller.metadata)
    refused: Any = caught.value
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(refused.trailing_metadata())["x-ratelimit-remaining-requests"] == "2"
    answers = list(stream(iter([wrong] * 4), metadata=caller.metadata))
    assert ["This key may use" in one.error_message for one in answers] == [
        False, False, True, True,
    ]  # fmt: skip


def test_both_grpc_methods_count_and_refuse(
    models: Operator, channel: grpc.Channel, caller_with: Make
) -> None:
    unary = channel.unary_unary(
        INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    stream = channel.stream_stream(
        STREAM, pb.ModelInferRequest.SerializeToString, pb.ModelStreamInferResponse.FromString
    )
    caller = caller_with(requests_per_second=0.02, request_burst=3)
    _, call = unary.with_call(grpc_request(), metadata=caller.metadata)
    told = dict(call.trailing_metadata())
    assert told["x-ratelimit-remaining-requests"] == "2"
    answers = list(stream(iter([grpc_request()] * 3), metadata=caller.metadata))
    assert [bool(one.error_message) for one in answers] == [False, False, True]
    with pytest.raises(grpc.RpcError) as caught:
        unary(grpc_request(), metadata=caller.metadata)
    refused: Any = caught.value
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = dict(refused.trailing_metadata())
    assert 40 <= float(told["retry-after"]) <= 50
    assert 40_000 <= int(told["grpc-retry-pushback-ms"]) <= 50_000
    assert told["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(grpc.RpcError, match="This key may use"):
        list(stream(iter([grpc_request()]), metadata=caller.metadata))


def test_grpc_has_no_other_method_that_predicts() -> None:
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    assert {one.name for one in methods if "Infer" in one.name} == {
        "ModelInfer",
        "ModelStreamInfer",
    }


def test_without_limits_nothing_is_told(models: Operator, caller_with: Make) -> None:
    caller = caller_with(api_requests_per_second=50)
    answer = caller.http.post("/v2/models/bounded/infer", json={"inputs": [TENSOR]})
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_images_tokens_and_engine_time_are_counted(models: Operator, caller_with: Make) -> None:
    caller = caller_with(
        images_per_minute=1000,
        tokens_per_minute=10_000,
        engine_seconds_per_day=100,
    )
    pictures = {"model": "colours", "image": [picture()] * 3}
    assert caller.http.post("/v1/classify", json=pictures).is_success
    assert 997 <= caller.left("images") < 998
    body = QUESTIONS["/v1/chat/completions"][0][1]
    answer = caller.http.post("/v1/chat/completions", json=body)
    used = answer.json()["usage"]["total_tokens"]
    assert 10_000 - used <= caller.left("tokens") <= 10_000 - used + 500
    assert 0 < 100 - caller.left("engine_seconds") < 60
    for unit in ("tokens", "images", "engine-seconds"):
        assert f"x-ratelimit-remaining-{unit}" in answer.headers


def test_explanations_have_a_limit_of_their_own_at_every_door(
    models: Operator, caller_with: Make
) -> None:
    caller = caller_with(explanations_per_minute=2)
    image = {"model": "colours", "image": picture()}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/explanations", {**image, "checks": False}),
        ("/v1/classify", {**image, "explain": {"checks": False}}),
        ("/v1/classify", image),
        ("/v1/explanations", image),
        ("/v1/classify", {**image, "explain": True}),
        ("/v2/models/bounded/explain", {"inputs": [TENSOR]}),
        ("/v1/models/colours:explain", {"instances": [picture()]}),
        ("/v1/models/colours:predict", {"instances": [picture()]}),
    ]
    answers = [caller.http.post(path, json=body) for path, body in asked]
    statuses = [one.status_code for one in answers]
    assert statuses == [200, 200, 200, 429, 429, 429, 429, 200], answers[0].text
    assert "may use 2 explanations per minute" in answers[3].json()["error"]["message"]
    assert answers[0].headers["x-ratelimit-remaining-explanations"] == "1"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 30


def test_nothing_is_asked_for_explanations_that_may_not_all_be_made(
    models: Operator, caller_with: Make
) -> None:
    caller = caller_with(explanations_per_day=3, images_per_day=10)
    many = {"instances": [picture()] * 4, "parameters": {"checks": False}}
    answer = caller.http.post("/v1/models/colours:explain", json=many)
    assert answer.status_code == 429
    assert "this request asks for up to 4" in answer.json()["error"]
    wish = {"model": "colours", "image": picture(), "explain": {"method": "grad-cam"}}
    assert caller.http.post("/v1/classify", json=wish).status_code == 403  # it may start no process
    assert (caller.left("explanations"), caller.left("images")) == (3, 10)
    answer = caller.http.post(
        "/v1/models/colours:explain", json={**many, "instances": [picture()] * 3}
    )
    assert answer.status_code == 200, answer.text
    wish["explain"] = True
    assert caller.http.post("/v1/classify", json=wish).status_code == 429
    assert (caller.left("explanations"), caller.left("images")) == (0, 7)


def test_explanations_that_jobs_make_count_as_well(models: Operator, caller_with: Make) -> None:
    caller = caller_with(role="developer", explanations_per_day=1)
    asked = Asked({"image": base64.b64decode(picture())}, {}, Wish(checks=False))
    parameters = {
        "deployment": "colours",
        "version": 1,
        "method": None,
        "input": models.upload(asked.to_bytes()),
    }
    body = {"kind": "explain-one", "parameters": parameters}
    first = caller.http.post("/api/v1/jobs", json=body)
    assert first.status_code == 201, first.text
    path = f"/api/v1/jobs/{first.json()['job_id']}"
    wait_until(lambda: caller.http.get(path).json()["state"] == "succeeded", "it is explained")
    assert caller.left("explanations") == 0
    second = caller.http.post("/api/v1/jobs", json=body)
    assert second.status_code == 429, second.text
    assert "may use 1 explanations per day" in second.json()["error"]["message"]


def test_the_tensor_door_is_no_way_round_the_images(models: Operator, caller_with: Make) -> None:
    caller = caller_with(images_per_day=2)
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": [2, 3, 32, 32],
        "data": [0.5] * (2 * 3 * 32 * 32),
    }
    described = caller.http.get("/v2/models/colours").json()["inputs"][0]
    tensor["name"] = described["name"]
    answers = [
        caller.http.post("/v2/models/colours/infer", json={"inputs": [tensor]}) for _ in range(2)
    ]
    assert [one.status_code for one in answers] == [200, 429], answers[0].text


def test_a_budget_is_told_as_openai_tells_it(models: Operator, caller_with: Make) -> None:
    caller = caller_with(requests_per_day=1)
    body = QUESTIONS["/v1/embeddings"][0][1]
    assert caller.http.post("/v1/embeddings", json=body).is_success
    answer = caller.http.post("/v1/embeddings", json=body)
    assert answer.json()["error"]["code"] == "insufficient_quota"
    assert 0 < int(answer.headers["retry-after"]) <= 86_400


def test_the_official_openai_client_comes_again_when_told(
    models: Operator, caller_with: Make
) -> None:
    caller = caller_with(requests_per_second=1, request_burst=1)
    client = openai.OpenAI(api_key=caller.token, base_url=f"{models.server.url}/v1", max_retries=2)
    first = client.embeddings.create(model="words", input="cat")
    started = time.monotonic()
    again = client.embeddings.create(model="words", input="cat")
    assert again.data[0].embedding == first.data[0].embedding
    assert time.monotonic() - started > 0.3  # it waited; without that it would have been refused
    impatient = client.with_options(max_retries=0)
    with pytest.raises(openai.RateLimitError) as caught:
        impatient.embeddings.create(model="words", input="cat")
    client.close()
    assert caught.value.code == "rate_limit_exceeded"


@pytest.fixture
def priced(models: Operator) -> Iterator[None]:
    """Another server on the database has priced what these tests ask for."""
    database = open_database(DataFolder(models.server.data).database_url)
    now = datetime.now(UTC)
    price = Price(
        "p_eur", "requests", Decimal("0.3"), 1, "EUR", now - timedelta(hours=1), None, now, "owner",
        deployment="bounded",
    )  # fmt: skip
    foreign = replace(price, price_id="p_usd", currency="USD", deployment="words")
    try:
        for one in (price, foreign):
            database.prices.put(one)
        yield
    finally:
        for one in (price, foreign):
            database.prices.put(replace(one, valid_until=datetime.now(UTC) - timedelta(minutes=1)))
        database.close()


@pytest.mark.usefixtures("priced")
def test_budgets_of_money(models: Operator, caller_with: Make, channel: grpc.Channel) -> None:
    limits: dict[str, Any] = {"cost_per_day": 0.5, "cost_currency": "EUR"}
    caller = caller_with(**limits)
    body = {"inputs": [TENSOR]}
    urls = ["/v2/models/bounded/infer", "/v2/models/bounded/infer?asgi=1"]
    answers = [caller.http.post(url, json=body) for url in (*urls, *urls)]
    assert [one.status_code for one in answers] == [200, 200, 429, 429], answers[0].text
    assert answers[2].json()["error"].startswith("This key may use 0.5 EUR per day")
    midnight = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    wait_s = int(answers[2].headers["retry-after"])
    assert abs((midnight - datetime.now(UTC)).total_seconds() - wait_s) < 60
    unary = channel.unary_unary(
        INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    with pytest.raises(grpc.RpcError, match=r"may use 0\.5 EUR per day"):
        unary(grpc_request(), metadata=caller.metadata)
    answer = caller.http.post("/v1/embeddings", json=QUESTIONS["/v1/embeddings"][0][1])
    assert answer.json()["error"]["code"] == "insufficient_quota"
    with Client(models.server.url, caller.token) as client:
        own = client.quotas.mine()[0]
    assert limits.items() <= own.limits.items()
    assert own.left["cost"].currency == "EUR"
    assert own.left["cost"].remaining == 0


@pytest.mark.usefixtures("priced")
def test_no_budget_is_spent_in_another_currency(models: Operator, caller_with: Make) -> None:
    limits: dict[str, Any] = {"cost_per_month": 5, "cost_currency": "EUR"}
    caller = caller_with(**limits)
    answer = caller.http.post("/v1/embeddings", json=QUESTIONS["/v1/embeddings"][0][1])
    assert answer.status_code == 403
    assert "may spend EUR, and this model is priced in USD" in answer.json()["error"]["message"]
    refused = models.http.put(
        f"/api/v1/quotas/keys/{caller.key_id}", json={"cost_per_day": 1, "cost_currency": "CHF"}
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "cost_currency"


def test_our_own_client_tells_and_sets_limits(models: Operator, caller_with: Make) -> None:
    caller = caller_with(requests_per_second=0.02, request_burst=1)
    owner = Client(models.server.url, models.server.key)
    assert caller.key_id in [one.key_id for one in owner.quotas.of_keys()]
    with Client(models.server.url, caller.token, max_retries=0) as client:
        own, tenant = client.quotas.mine()
        assert own.key_id == caller.key_id
        assert own.left["requests"].remaining == 1
        assert tenant.key_id is None
        client.embed("words", "cat")
        with pytest.raises(QuotaExceeded) as caught:
            client.embed("words", "cat")
        assert caught.value.retry_after_s
    done = owner.quotas.set_key(caller.key_id, tokens_per_day=5)
    assert done.limits == {"tokens_per_day": 5}
    owner.quotas.clear_key(caller.key_id)
    assert caller.key_id not in [one.key_id for one in owner.quotas.of_keys()]
    owner.close()


def test_the_management_api_has_a_limit_of_its_own(models: Operator, caller_with: Make) -> None:
    caller = caller_with(api_requests_per_second=0.5)
    answers = [caller.http.get("/api/v1/whoami") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 429, 429]
    assert answers[1].json()["error"]["code"] == "quota_exceeded"
    assert answers[1].headers["retry-after"] == "2"
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "0"
    assert caller.http.get("/v1/models").status_code == 429
    body = {"inputs": [TENSOR]}
    assert caller.http.post("/v2/models/bounded/infer", json=body).status_code == 200


def test_limits_of_a_key_stay_below_those_of_its_tenant(wired: Operator, caller_with: Make) -> None:
    caller = caller_with(requests_per_second=5)
    wired.call("PUT", "/quotas/tenants/default", json={"tokens_per_day": 10**9})
    answer = wired.http.put(
        f"/api/v1/quotas/keys/{caller.key_id}", json={"tokens_per_day": 10**9 + 1}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tokens_per_day"
    wired.call("PUT", "/quotas/tenants/default", json={})
    for path, status in (("keys/nobody", 404), ("tenants/nobody", 404)):
        assert wired.http.put(f"/api/v1/quotas/{path}", json={}).status_code == status
