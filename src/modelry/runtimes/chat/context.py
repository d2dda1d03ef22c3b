"""How many tokens one request may have: settled at load, told when a request does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from modelry.domain.errors import ContextLengthExceeded, InvalidInput
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.request_checks import MAX_VOCABULARY
from modelry.runtimes.engine_options import EngineOptions

DEFAULT_CONTEXT = 4096
MAX_CONTEXT = 16 * 2**20


def wanted_context(spec: LoadSpec, options: EngineOptions, metadata: Mapping[str, str]) -> int:
    """Tokens of prompt and answer together: what is asked for, else the model's own up to 4,096.

    Args:
        spec: its manifest may declare `limits.context`.
        options: the engine option `context` goes before the manifest.
        metadata: of the GGUF file.

    Raises:
        InvalidInput: out of range, or more than the model was trained for.
    """
    trained = _count(metadata, "context_length", MAX_CONTEXT)
    declared = (spec.manifest.get("limits") or {}).get("context")
    context = options.integer("context", declared or min(trained, DEFAULT_CONTEXT), 1, MAX_CONTEXT)
    if context > trained:
        raise InvalidInput(
            f"A context of {context} tokens is asked for; this model was trained for {trained} "
            "and answers nonsense beyond. Lower limits.context or the engine option 'context'.",
            param="context",
        )
    return context


def vocabulary_of(metadata: Mapping[str, str]) -> int:
    """How many tokens the model of a GGUF file knows."""
    return _count(metadata, "vocabulary", MAX_VOCABULARY)


def context_exceeded(
    prompt_tokens: int, max_tokens: int | None, context: int, param: str
) -> ContextLengthExceeded:
    """The error for a prompt in the field `param` that does not fit."""
    asked = f" and max_tokens asks for {max_tokens} more" if max_tokens else ""
    return ContextLengthExceeded(
        f"The prompt has {prompt_tokens} tokens{asked}; prompt and answer together may have "
        f"{context}. Shorten the prompt or ask for fewer tokens.",
        param=param,
    )


def _count(metadata: Mapping[str, str], key: str, otherwise: int) -> int:
    told = metadata.get(key, "")
    return int(told) if told.isdigit() and int(told) > 0 else otherwise
