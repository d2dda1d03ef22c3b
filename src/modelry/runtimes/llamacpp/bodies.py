"""Requests in the shape that llama.cpp's server takes. Only fields that are known here go in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import xllamacpp

from modelry.domain.errors import NotSupported
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling
from modelry.runtimes.chat.plan import ChatPlan
from modelry.runtimes.llamacpp.prompt_slots import Place
from modelry.runtimes.llamacpp.settings import LlamaSettings

_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way of writing JSON: small models otherwise fill their answers with white space."""
_SEEDS = 2**32 - 1
"""The largest 32-bit number asks the engine for a random seed, so it is left out."""


def chat_body(request: ChatRequest, plan: ChatPlan, settings: LlamaSettings, place: Place) -> bytes:
    """The body for a chat completion."""
    body = _common(request, plan.sampling, settings, place)
    body["messages"] = plan.messages
    if request.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = max(1, request.top_logprobs)
    if plan.schema is not None:
        body["grammar"] = grammar_of(plan.schema)
    if plan.native_tools:
        body["tools"] = plan.native_tools
        body["tool_choice"] = "auto"
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return orjson.dumps(body)


def forced_body(
    request: ChatRequest,
    plan: ChatPlan,
    settings: LlamaSettings,
    place: Place,
    tokens: Sequence[int],
) -> bytes:
    """The body for a chat completion that can give these tokens alone, and tells how likely."""
    body = _common(request, request.sampling, settings, place)
    body |= {"messages": plan.messages, "logprobs": True, "top_logprobs": 1}
    body["grammar"] = forcing_grammar(tokens)
    return orjson.dumps(body)


def completion_body(request: CompletionRequest, settings: LlamaSettings, place: Place) -> bytes:
    """The body for a text completion."""
    body = _common(request, request.sampling, settings, place)
    body["prompt"] = request.prompt
    if request.top_logprobs is not None:
        body["logprobs"] = max(1, request.top_logprobs)
    return orjson.dumps(body)


def _common(
    request: ChatRequest | CompletionRequest,
    sampling: Sampling,
    settings: LlamaSettings,
    place: Place,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "stream": True,  # a call that does not stream cannot be cancelled
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "cache_prompt": place.may_reuse,
        # the version's own for every request: caches never mix answers with and without it
        "lora": [] if settings.adapter is None else [{"id": 0, "scale": 1.0}],
        "n": request.n,
        "max_tokens": settings.context if sampling.max_tokens is None else sampling.max_tokens,
    }
    if place.slot is not None:
        body["id_slot"] = place.slot
    for name in (
        "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
    ):  # fmt: skip
        value = getattr(sampling, name)
        if value is not None:
            body[name] = value
    if sampling.seed is not None:
        body["seed"] = sampling.seed % _SEEDS
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        # -100 forbids a token in OpenAI's API; the engine says so with false
        body["logit_bias"] = [
            [token, False if bias <= -100 else bias] for token, bias in sampling.logit_bias.items()
        ]
    return body


def forcing_grammar(tokens: Sequence[int]) -> str:
    """A grammar that lets these tokens through, one after the other, and no others."""
    forced = " ".join(f"<[{token}]>" for token in tokens)
    if _has_llguidance():
        return f"%llguidance {{}}\nstart: {forced}"
    return f"root ::= {forced}"  # llama.cpp's own grammars refuse tokens that end in a character


def _has_llguidance() -> bool:
    return bool(xllamacpp.json_schema_to_grammar("{}").startswith("%llguidance"))


def grammar_of(schema: dict[str, Any]) -> str:
    """A compiled schema as a grammar for the engine's JSON schema library.

    The engine's own conversion ignores keywords and runs out of memory on contradictory bounds.

    Raises:
        NotSupported: this build of the engine is without that library.
    """
    if not _has_llguidance():
        raise NotSupported(
            "This build of xllamacpp cannot enforce JSON schemas (it has no llguidance); ask for "
            "free text, or install the prebuilt wheel."
        )
    rules = orjson.dumps({**schema, "x-guidance": {**_COMPACT, "coerce_one_of": True}})
    return "%llguidance {}\nstart: %json " + rules.decode()
