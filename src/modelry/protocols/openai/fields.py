"""Every field of every endpoint: honoured, taken without effect, bound to some values, or refused.

The documentation is generated from `FIELDS`; a field that is not in it is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from modelry.domain.errors import UnsupportedField
from modelry.protocols.http.values import shown


class Support(StrEnum):
    """What this server does with a field."""

    SUPPORTED = "supported"
    NO_EFFECT = "accepted without effect"
    LIMITED = "only some values"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request body.

    `note` says what it does, why it has no effect, or what to use instead. `only` lists the
    values that a `LIMITED` field may have. `schema` is its JSON schema.
    """

    name: str
    support: Support
    note: str
    schema: Mapping[str, Any]
    only: tuple[Any, ...] = ()
    extension: bool = False


_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_OBJECT = {"type": "object"}
_ANY: dict[str, Any] = {}


def _between(low: float, high: float) -> dict[str, Any]:
    return {"type": "number", "minimum": low, "maximum": high}


def _count(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _supported(name: str, schema: Mapping[str, Any], note: str) -> Field:
    return Field(name, Support.SUPPORTED, note, schema)


def _extension(name: str, schema: Mapping[str, Any], note: str) -> Field:
    return Field(name, Support.SUPPORTED, note + " (extension)", schema, extension=True)


def _no_effect(name: str, schema: Mapping[str, Any], note: str) -> Field:
    return Field(name, Support.NO_EFFECT, note, schema)


def _limited(name: str, only: tuple[Any, ...], note: str) -> Field:
    return Field(name, Support.LIMITED, note, {"enum": list(only)}, only)


def _refused(name: str, note: str) -> Field:
    return Field(name, Support.REFUSED, note, _ANY)


_MODEL = _supported("model", _STRING, "Name of a deployment; GET /v1/models lists them.")
_USER = _no_effect("user", _STRING, "Usage is counted by API key.")

_SAMPLING = (
    _supported("temperature", _between(0, 2), "Default: the model's. 0 takes the likeliest token."),
    _supported("top_p", _between(0, 1), "Nucleus sampling. Default: the model's."),
    _extension("top_k", _count(0, 2**20), "Sample from the k likeliest tokens; 0 is off."),
    _extension("min_p", _between(0, 1), "Drop tokens below this share of the likeliest one's."),
    _supported("presence_penalty", _between(-2, 2), "Against tokens that were used at all."),
    _supported("frequency_penalty", _between(-2, 2), "Against tokens by how often they were used."),
    _supported("logit_bias", _OBJECT, "Token id to bias from -100 to 100; at most 1024 entries."),
    _supported("seed", {"type": "integer"}, "Same seed, same version, same answer; best effort."),
    _supported(
        "stop",
        {"anyOf": [_STRING, {"type": "array", "items": _STRING, "maxItems": 4}]},
        "Up to 4 texts that end the answer; they are not part of it.",
    ),
    _supported("n", _count(1, 8), "Number of choices; at most the deployment's slots."),
    _supported("stream", _BOOLEAN, "Answer in server-sent events, ended by `data: [DONE]`."),
    _supported(
        "stream_options",
        _OBJECT,
        "`include_usage`: a last chunk tells the tokens used. `include_obfuscation` must be "
        "false: chunks are not padded.",
    ),
    _USER,
)

_CHAT = (
    _MODEL,
    _supported(
        "messages",
        {"type": "array", "items": _OBJECT, "minItems": 1},
        "Roles developer (read as system), system, user, assistant, tool. Content is text or "
        "parts of type text; images, audio and files are refused.",
    ),
    *_SAMPLING,
    _supported("max_completion_tokens", _count(1, 2**20), "Most tokens of one choice."),
    _supported("max_tokens", _count(1, 2**20), "Older name of max_completion_tokens."),
    _supported("logprobs", _BOOLEAN, "Tell the log-probability of each token."),
    _supported("top_logprobs", _count(0, 20), "Alternatives per token; needs logprobs: true."),
    _supported("tools", {"type": "array", "items": _OBJECT, "maxItems": 128}, "Functions only."),
    _supported(
        "tool_choice",
        {"anyOf": [{"enum": ["auto", "none", "required"]}, _OBJECT]},
        "auto, none, required, or one function by name. `required` and a name are enforced.",
    ),
    _supported("parallel_tool_calls", _BOOLEAN, "false: at most one call per answer."),
    _supported(
        "response_format",
        _OBJECT,
        "text, json_object or json_schema. Schemas are always enforced, `strict` or not; "
        "keywords that cannot be enforced are refused.",
    ),
    _no_effect("metadata", _OBJECT, "Nothing is stored, so there is nothing to tag."),
    _no_effect("safety_identifier", _STRING, "Usage is counted by API key."),
    _no_effect("prompt_cache_key", _STRING, "Prompt prefixes are cached without being asked."),
    _limited("prompt_cache_retention", ("in_memory",), "Prefixes are cached in memory only."),
    _limited("store", (False,), "Answers are not stored."),
    _limited("service_tier", ("auto", "default"), "There is one tier."),
    _limited("modalities", (["text"],), "Answers are text."),
    _limited("reasoning_effort", ("none",), "No reasoning is done apart from the answer."),
    _limited("verbosity", ("medium",), "Ask for shorter or longer answers in a message."),
    _refused("functions", "Use tools."),
    _refused("function_call", "Use tool_choice."),
    _refused("audio", "Answers are text."),
    _refused("prediction", "Predicted outputs are not implemented."),
    _refused("web_search_options", "There is no web search."),
    _refused("moderation", "There is no moderation."),
    _refused("prompt_cache_options", "Prompt prefixes are cached without being asked."),
)

_COMPLETIONS = (
    _MODEL,
    _supported(
        "prompt",
        _ANY,
        "A text, a list of up to 32 texts, a list of token ids, or a list of up to 32 such lists.",
    ),
    *_SAMPLING,
    _supported(
        "max_tokens",
        _count(0, 2**20),
        "Most tokens of one choice; default 16, as OpenAI's. 0 only with echo.",
    ),
    _supported("echo", _BOOLEAN, "Begin the answer with the prompt."),
    _supported("logprobs", _count(0, 5), "Alternatives per token."),
    _supported("best_of", _count(1, 8), "Must equal n: choices are not generated to be dropped."),
    _refused("suffix", "Filling in the middle is not implemented."),
)

_EMBEDDINGS = (
    _MODEL,
    _supported(
        "input",
        _ANY,
        "A text, a list of up to 2048 texts, a list of token ids, or a list of up to 2048 such "
        "lists.",
    ),
    _supported(
        "encoding_format",
        {"enum": ["float", "base64"]},
        "float (default), or base64 of little-endian 32-bit floats.",
    ),
    _supported(
        "dimensions",
        _count(1, 2**16),
        "Cuts vectors and scales them to length 1 again; only where the model's manifest says "
        "in metadata.matryoshka that it was trained for it.",
    ),
    _USER,
)

_RERANK = (
    _MODEL,
    _supported("query", _STRING, "What the documents are ordered by."),
    _supported("documents", {"type": "array", "maxItems": 1000}, 'Texts, or objects {"text": …}.'),
    _supported("top_n", _count(1, 1000), "How many results to tell; default all."),
    _supported("return_documents", _BOOLEAN, "Repeat the documents' texts; default false."),
    _USER,
    _refused("rank_fields", "Documents are plain texts; join the fields first."),
    _refused("max_chunks_per_doc", "Documents are not split; split long ones first."),
    _refused("max_tokens_per_doc", "Documents are not cut; shorten long ones first."),
    _refused("truncation", "Documents are not cut; shorten long ones first."),
)

_FILES = (
    _supported("file", {"type": "string", "format": "binary"}, "The file, with a file name."),
    _limited(
        "purpose",
        ("fine-tune",),
        "Batches, assistants, vision and evaluations have no files here; datasets are imported "
        "through /api/v1.",
    ),
    _supported(
        "expires_after",
        {"type": "object", "properties": {"anchor": {"enum": ["created_at"]}, "seconds": _ANY}},
        "Delete the file then: `anchor` is created_at, `seconds` 3600 to 2592000.",
    ),
)

_AUTO = "`auto` (default): what the base was trained with, else the recipe's."
_HYPERPARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n_epochs": {"anyOf": [{"const": "auto"}, _count(1, 100_000)]},
        "batch_size": {"anyOf": [{"const": "auto"}, _count(1, 65_536)]},
        "learning_rate_multiplier": {"anyOf": [{"const": "auto"}, _between(1e-6, 1e6)]},
    },
    "additionalProperties": False,
}
_FINE_TUNING = (
    _supported(
        "model",
        _STRING,
        "The base: a deployment, or a registered model's version (name, name@3, name@alias).",
    ),
    _supported("training_file", _STRING, "Id of a file of purpose fine-tune: JSON lines."),
    _supported("validation_file", _STRING, "Id of another one, which is only measured on."),
    _supported(
        "method",
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["supervised"]},
                "supervised": {
                    "type": "object",
                    "properties": {"hyperparameters": _HYPERPARAMETERS},
                    "additionalProperties": False,
                },
            },
            "required": ["type"],
            "additionalProperties": False,
        },
        f"`supervised` only; dpo and reinforcement are refused. Hyperparameters: {_AUTO}",
    ),
    _supported("hyperparameters", _HYPERPARAMETERS, "Older place of the method's."),
    _supported("seed", _count(0, 2**31 - 1), "Drawn where none is given; told with the job."),
    _supported(
        "suffix",
        {"type": "string", "minLength": 1, "maxLength": 64},
        "Part of the new model's name; up to 40 letters, digits, '.', '_' or '-'.",
    ),
    _supported("metadata", _OBJECT, "Up to 16 texts, by which jobs can be listed."),
    _supported("integrations", {"type": "array", "maxItems": 0}, "None; must be empty."),
    _extension("parameters", _OBJECT, "Other parameters of the recipe, such as `rank`."),
)

FIELDS: dict[str, tuple[Field, ...]] = {
    "POST /v1/chat/completions": _CHAT,
    "POST /v1/completions": _COMPLETIONS,
    "POST /v1/embeddings": _EMBEDDINGS,
    "POST /v1/rerank": _RERANK,
    "POST /v1/files": _FILES,
    "POST /v1/fine_tuning/jobs": _FINE_TUNING,
}
"""The fields of each endpoint's body."""

_BY_NAME = {
    endpoint: {field.name: field for field in fields} for endpoint, fields in FIELDS.items()
}
_REQUIRED = {
    "POST /v1/chat/completions": ["model", "messages"],
    "POST /v1/completions": ["model", "prompt"],
    "POST /v1/embeddings": ["model", "input"],
    "POST /v1/rerank": ["model", "query", "documents"],
    "POST /v1/files": ["file", "purpose"],
    "POST /v1/fine_tuning/jobs": ["model", "training_file"],
}


def check_fields(endpoint: str, body: Mapping[str, Any]) -> None:
    """Refuse fields that `endpoint` does not know or cannot honour; `null` is as not there.

    Raises:
        UnsupportedField: names the field, and says what to use instead.
    """
    known = _BY_NAME[endpoint]
    for name, value in body.items():
        if value is None:
            continue
        field = known.get(name)
        if field is None:
            raise UnsupportedField(
                f"Unknown field '{name[:80]}': this endpoint does not know it and ignores nothing. "
                "Leave it out.",
                param=name[:80],
            )
        if field.support is Support.REFUSED:
            raise UnsupportedField(f"'{name}' is not supported. {field.note}", param=name)
        if field.support is Support.LIMITED and not _is_among(value, field.only):
            allowed = " or ".join(orjson.dumps(value).decode() for value in field.only)
            raise UnsupportedField(
                f"'{name}' is {shown(value)}; only {allowed} is supported. {field.note}", param=name
            )


def _is_among(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Membership that keeps `0` and `false` apart."""
    return any(type(value) is type(one) and value == one for one in allowed)


def body_schema(endpoint: str) -> dict[str, Any]:
    """The JSON schema of an endpoint's body, for the OpenAPI document."""
    properties = {
        field.name: {**field.schema, "description": f"{field.note} [{field.support}]"}
        for field in FIELDS[endpoint]
        if field.support is not Support.REFUSED
    }
    return {
        "type": "object",
        "properties": properties,
        "required": _REQUIRED[endpoint],
        "additionalProperties": False,
    }
