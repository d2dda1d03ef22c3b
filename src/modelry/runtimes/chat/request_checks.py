"""Refuses numbers and texts of a request that no engine may see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling

MAX_TOP_LOGPROBS = 20
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_LOGIT_BIASES = 1024
MAX_VOCABULARY = 2**31
"""Token ids are below this whatever the model."""
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "top_k": (0, 2**20),
    "max_tokens": (0, 2**31 - 1),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_WHOLE = frozenset({"top_k", "max_tokens"})


def check_chat(request: ChatRequest, slots: int, vocabulary: int) -> None:
    """Refuse what is out of range in a chat.

    Args:
        request: with the manifest's defaults filled in.
        slots: how many choices the engine generates at once.
        vocabulary: how many tokens the model knows.

    Raises:
        InvalidInput: a field is of another type or out of range; `param` names it.
    """
    _check_common(request, slots, vocabulary)
    _refuse_no_tokens(request.sampling)


def check_completion(request: CompletionRequest, slots: int, vocabulary: int) -> None:
    """Refuse what is out of range in a completion; arguments and errors as for `check_chat`.

    Raises:
        UnsupportedField: `echo` together with log-probabilities.
    """
    _check_common(request, slots, vocabulary)
    prompt = request.prompt
    if not prompt or not isinstance(prompt, str | list):
        raise InvalidInput("The prompt is empty; expected text or token ids.", param="prompt")
    if isinstance(prompt, list):
        check_tokens(prompt, vocabulary, "prompt")
    if request.echo and request.top_logprobs is not None:
        raise UnsupportedField(
            "echo together with logprobs is not supported: the engine has no log-probabilities "
            "of the prompt. Leave one of them out.",
            param="echo",
        )
    if not request.echo:
        _refuse_no_tokens(request.sampling)


def _refuse_no_tokens(sampling: Sampling) -> None:
    if sampling.max_tokens == 0:
        raise InvalidInput("max_tokens is 0; expected at least 1.", param="max_tokens")


def _check_common(request: ChatRequest | CompletionRequest, slots: int, vocabulary: int) -> None:
    check_sampling(request.sampling)
    check_tokens(list(request.sampling.logit_bias), vocabulary, "logit_bias")
    if type(request.n) is not int or not 1 <= request.n <= slots:
        raise InvalidInput(
            f"n is {request.n!r:.40}; this deployment generates 1 to {slots} choices at once. Send "
            "several requests, or deploy with more slots.",
            param="n",
        )
    top = request.top_logprobs
    if top is not None and (type(top) is not int or not 0 <= top <= MAX_TOP_LOGPROBS):
        raise InvalidInput(
            f"top_logprobs is {top!r:.40}; expected a whole number from 0 to {MAX_TOP_LOGPROBS}.",
            param="top_logprobs",
        )


def check_tokens(tokens: Sequence[Any], vocabulary: int, param: str) -> None:
    """Refuse what is no token id of the model.

    Raises:
        InvalidInput: `param` is the field that holds them.
    """
    for token in tokens:
        if type(token) is not int or not 0 <= token < vocabulary:
            raise InvalidInput(
                f"{param} has {token!r:.40}; the token ids of this model are whole numbers from 0 "
                f"to {vocabulary - 1}.",
                param=param,
            )


def check_sampling(sampling: Sampling) -> None:
    """Refuse sampling parameters that are out of range.

    Raises:
        InvalidInput: `param` names the field.
    """
    for name, (low, high) in _RANGES.items():
        value = getattr(sampling, name)
        if value is None:
            continue
        known = type(value) is int or (type(value) is float and name not in _WHOLE)
        if not known or not math.isfinite(value) or not low <= value <= high:
            kind = "whole number" if name in _WHOLE else "number"
            raise InvalidInput(
                f"{name} is {value!r:.40}; expected a {kind} from {low:g} to {high:g}.", param=name
            )
    seed = sampling.seed
    if seed is not None and (type(seed) is not int or not -(2**63) <= seed < 2**64):
        raise InvalidInput(
            f"seed is {seed!r:.40}; expected a whole number of at most 64 bits.", param="seed"
        )
    _check_stops(sampling.stop)
    _check_biases(sampling.logit_bias)


def _check_stops(stops: tuple[Any, ...]) -> None:
    if len(stops) > MAX_STOPS:
        raise InvalidInput(
            f"stop has {len(stops)} sequences; at most {MAX_STOPS} are allowed.", param="stop"
        )
    for stop in stops:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidInput(
                f"A stop sequence is {stop!r:.60}; expected text of 1 to {MAX_STOP_CHARS} "
                "characters.",
                param="stop",
            )


def _check_biases(biases: dict[int, float]) -> None:
    if len(biases) > MAX_LOGIT_BIASES:
        raise InvalidInput(
            f"logit_bias has {len(biases)} entries; at most {MAX_LOGIT_BIASES} are allowed.",
            param="logit_bias",
        )
    for token, bias in biases.items():
        if type(bias) not in {int, float} or not -100 <= bias <= 100:
            raise InvalidInput(
                f"logit_bias has {bias!r:.40} for token {token!r:.40}; expected a number from -100 "
                "to 100.",
                param="logit_bias",
            )
