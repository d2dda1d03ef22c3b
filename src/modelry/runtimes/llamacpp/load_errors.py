"""Reads the reason of a failed load out of what llama.cpp logged, and maps its call errors."""

from __future__ import annotations

import re
from typing import Any

from modelry.domain.errors import (
    InvalidInput,
    ModelFailed,
    ModelryError,
    NotSupported,
    UnsupportedField,
)
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.context import context_exceeded
from modelry.runtimes.engine_reasons import tell_reason

_ERROR_LINE = re.compile(r"^[\d.]+ E (?:\w+ +)?(?:[\w~]+: +)?(.+)$", re.MULTILINE)
_EMPTY_WORDS = ("error loading model: ", "failed to load model", "encountered an error")


def reason_in(log: str, fallback: str, spec: LoadSpec) -> str:
    """The first error in `log` that says something, without paths; else `fallback`."""
    for match in _ERROR_LINE.finditer(log):
        message = match[1].replace("error loading model: ", "").strip()
        if message and not message.startswith(_EMPTY_WORDS):
            return tell_reason(message, spec)
    return tell_reason(log.strip().splitlines()[-1] if log.strip() else fallback, spec)


def call_error(error: dict[str, Any], context: int, param: str) -> ModelryError:
    """What llama.cpp answered to a request, as an error of ours."""
    kind = error.get("type")
    message = tell_reason(str(error.get("message", "")))
    if kind == "exceed_context_size_error" or "too large to process" in message:
        counted = error.get("n_prompt_tokens")
        if not isinstance(counted, int):
            found = re.search(r"\((\d+) tokens\)", message)
            counted = int(found[1]) if found else context
        return context_exceeded(counted, None, context, param)
    if kind == "invalid_request_error":
        return InvalidInput(f"The engine refused the request: {message}")
    if kind == "not_supported_error":
        return NotSupported(f"The engine cannot do this: {message}")
    return ModelFailed(f"The engine failed: {message}")


def call_exception(error: Exception) -> ModelryError:
    """What llama.cpp threw before it generated anything, as an error of ours."""
    message = tell_reason(str(error))
    if "is not supported" in message:
        return UnsupportedField(f"This model does not take what was sent: {message}")
    return InvalidInput(f"The chat template or the engine refused the request: {message}")
