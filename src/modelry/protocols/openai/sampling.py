"""The fields that chat and completions share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import (
    Body,
    flag,
    number,
    refuse_unknown_keys,
    shown,
    text,
    whole,
)
from modelry.runtime_api.generation import Sampling

MAX_CHOICES = 8
MAX_TOKENS = 2**20
MAX_STOPS = 4
MAX_STOP_CHARS = 256
MAX_BIASES = 1024
MAX_USER_CHARS = 512


@dataclass(frozen=True, slots=True)
class Streaming:
    """Whether an answer is streamed, and whether a last chunk tells the usage."""

    wanted: bool
    include_usage: bool


def sampling(body: Body, max_tokens: int | None) -> Sampling:
    """How tokens are chosen.

    Raises:
        InvalidInput: a field is of another type or out of range; `param` names it.
    """
    return Sampling(
        max_tokens=max_tokens,
        temperature=number(body, "temperature", 0, 2),
        top_p=number(body, "top_p", 0, 1),
        top_k=whole(body, "top_k", 0, 2**20),
        min_p=number(body, "min_p", 0, 1),
        seed=whole(body, "seed", -(2**63), 2**63 - 1),
        stop=_stops(body.get("stop")),
        presence_penalty=number(body, "presence_penalty", -2, 2),
        frequency_penalty=number(body, "frequency_penalty", -2, 2),
        logit_bias=_logit_bias(body.get("logit_bias")),
    )


def choices(body: Body) -> int:
    """The field `n`.

    Raises:
        InvalidInput: not 1 to 8.
    """
    return whole(body, "n", 1, MAX_CHOICES) or 1


def streaming(body: Body) -> Streaming:
    """The fields `stream` and `stream_options`.

    Raises:
        InvalidInput: of another type, or options without a stream.
        UnsupportedField: an option that is not known.
    """
    wanted = flag(body, "stream")
    options = body.get("stream_options")
    if options is None:
        return Streaming(wanted, include_usage=False)
    if not isinstance(options, dict):
        raise InvalidInput(
            f"stream_options is {shown(options)}; expected an object.", param="stream_options"
        )
    if not wanted:
        raise InvalidInput(
            "stream_options is only allowed together with stream: true.", param="stream_options"
        )
    refuse_unknown_keys(
        options, frozenset({"include_usage", "include_obfuscation"}), "stream_options"
    )
    if flag(options, "include_obfuscation"):
        raise UnsupportedField(
            "Chunks are not padded; leave stream_options.include_obfuscation out.",
            param="stream_options.include_obfuscation",
        )
    return Streaming(wanted, flag(options, "include_usage"))


def check_user(body: Body) -> None:
    """See that the fields that name the caller's user are texts.

    Raises:
        InvalidInput: one is none.
    """
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        text(body, name, most_chars=MAX_USER_CHARS)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return ()
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise InvalidInput(
            f"stop is {shown(value)}; expected a text or a list of at most {MAX_STOPS} texts.",
            param="stop",
        )
    for stop in stops:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidInput(
                f"stop holds {shown(stop)}; expected texts of 1 to {MAX_STOP_CHARS} characters.",
                param="stop",
            )
    return tuple(stops)


def _logit_bias(value: Any) -> dict[int, float]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_BIASES:
        raise InvalidInput(
            f"logit_bias is {shown(value)}; expected an object of at most {MAX_BIASES} token ids "
            "with their biases.",
            param="logit_bias",
        )
    biases: dict[int, float] = {}
    for token in value:
        is_id = token.isascii() and token.isdigit() and len(token) <= 10 and int(token) < 2**31
        if not is_id:
            raise InvalidInput(
                f"logit_bias has the key {shown(token)}; expected token ids.", param="logit_bias"
            )
        try:
            bias = number(value, token, -100, 100)
        except InvalidInput as error:
            raise InvalidInput(f"logit_bias: {error.message}", param="logit_bias") from None
        if bias is not None:
            biases[int(token)] = bias
    return biases
