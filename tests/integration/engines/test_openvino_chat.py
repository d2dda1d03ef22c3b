"""OpenVINO GenAI with a real model, in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.chat_behaviour import MANIFEST, SLOTS, ChatBehaviour, ask
from tests.support.weights import smollm2_q4_1, smollm2_q8_0
from tests.support.worker_child import WorkerChild, worker_child

from modelry.domain.errors import InvalidInput, NotSupported, UnsupportedField
from modelry.runtime_api.engine import LoadSpec

pytest.importorskip("openvino_genai", reason="the extra modelry[openvino] is not installed")


def spec(path: Path, **options: Any) -> LoadSpec:
    return LoadSpec("chat", "openvino", MANIFEST, {"model": path}, options)


@pytest.fixture(scope="module")
def child() -> Iterator[WorkerChild]:
    with worker_child(spec(smollm2_q8_0(), slots=SLOTS)) as child:
        yield child


class TestOpenVinoChat(ChatBehaviour):
    def test_what_it_cannot_do_is_refused_by_name(self, child: WorkerChild) -> None:
        with pytest.raises(UnsupportedField) as caught:
            child.generate(ask("Hi", logit_bias={5: 1.0}))
        assert caught.value.param == "logit_bias"
        with pytest.raises(UnsupportedField) as caught:
            child.generate(ask("Hi", top_logprobs=2))
        assert caught.value.param == "top_logprobs"
        with pytest.raises(UnsupportedField) as caught:
            child.generate(ask("Hi", json_schema={"type": "string", "pattern": "a+"}))
        assert caught.value.param == "json_schema"

    @pytest.mark.parametrize(
        "extreme",
        [{"top_p": 0.0}, {"min_p": 1.0}, {"top_k": 0}, {"seed": -1}, {"temperature": 100.0}],
    )
    def test_sampling_at_its_limits(self, child: WorkerChild, extreme: dict[str, Any]) -> None:
        request = ask("Hi", 3, **{"temperature": 1.0, **extreme})
        assert child.generate(request).usage.completion_tokens == 3

    def test_optional_members_and_nested_schemas(self, child: WorkerChild) -> None:
        node = {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 4},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]},
            },
            "required": ["next"],
            "$defs": {"leaf": {"type": "object", "properties": {"n": {"type": "number"}}}},
        }
        answer = child.generate(ask("Answer in JSON.", 80, json_schema=node))
        # a complete answer was checked against the schema by the worker itself
        assert answer.reasons == {0: "stop"}


def test_callers_of_other_tenants_need_a_model_without_the_common_cache(child: WorkerChild) -> None:
    with pytest.raises(NotSupported, match="prefix_cache=off"):
        child.generate(ask("Hi", 2, cache_salt="guest"))
    with worker_child(spec(smollm2_q8_0(), slots=1, prefix_cache="off")) as shared:
        own = shared.generate(ask("What is the capital of France?", 6)).text()
        guest = shared.generate(ask("What is the capital of France?", 6, cache_salt="guest")).text()
        assert own == guest


def test_a_file_that_it_would_answer_worse_is_refused_before_it_is_loaded() -> None:
    refused = pytest.raises(NotSupported, match=r"Q4_1.*3\.44 instead of 3\.25.*llamacpp")
    with refused, worker_child(spec(smollm2_q4_1())):
        pass


def test_unknown_options_are_refused() -> None:
    refused = pytest.raises(InvalidInput, match="no engine option 'slotz'")
    with refused, worker_child(spec(smollm2_q8_0(), slotz=1)):
        pass
