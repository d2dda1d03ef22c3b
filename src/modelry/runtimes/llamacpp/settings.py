"""How a GGUF file is to be served: from the manifest, the engine options and the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.request_checks import MAX_VOCABULARY
from modelry.runtimes.engine_options import EngineOptions, available_cores
from modelry.runtimes.engine_reasons import file_name
from modelry.runtimes.gguf_files import gguf_metadata
from modelry.runtimes.model_files import main_file

DEFAULT_CONTEXT = 4096
DEFAULT_SLOTS = 4
MAX_SLOTS = 64
MAX_CONTEXT = 16 * 2**20
PROMPT_BATCH = 256
"""Prompt tokens between two looks at whether the caller is still there. Measured: as fast as the
engine's 2,048, half the time to the first token with several streams, and a cancelled prompt
ends within one batch instead of at its end."""
POOLINGS = ("model", "mean", "cls", "last")


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """What the engine is started with.

    `context` is what one request may have, in tokens; the engine's own figure is `context` times
    `slots`. `prompt_cache_mib` bounds prompts that are kept beside the slots. `vocabulary`
    is the number of tokens that the model knows.
    """

    path: Path
    embeds: bool
    context: int
    slots: int
    threads: int
    batch: int
    prompt_cache_mib: int
    pooling: str
    vocabulary: int

    @classmethod
    def of(cls, spec: LoadSpec) -> LlamaSettings:
        """The settings of `spec`.

        Raises:
            ModelFailed: the file is no GGUF file that can be read.
            InvalidInput: an engine option or the context is out of range.
        """
        path = main_file(spec)
        metadata = gguf_metadata(path, file_name(spec, "model"))
        embeds = spec.task == "text-embedding"
        options = EngineOptions(spec.options, "llamacpp")
        trained = _trained_context(metadata)
        declared = (spec.manifest.get("limits") or {}).get("context")
        context = options.integer(
            "context", declared or min(trained, DEFAULT_CONTEXT), 1, MAX_CONTEXT
        )
        if context > trained:
            raise InvalidInput(
                f"A context of {context} tokens is asked for; this model was trained for {trained} "
                "and answers nonsense beyond. Lower limits.context or the engine option 'context'.",
                param="context",
            )
        pooling = options.choice("pooling", "model", POOLINGS)
        if pooling == "model" and "pooling_type" not in metadata:
            pooling = "mean"
        settings = cls(
            path=path,
            embeds=embeds,
            context=context,
            slots=options.integer("slots", DEFAULT_SLOTS, 1, MAX_SLOTS),
            threads=options.integer("threads", _default_threads(), 1, 512),
            # an embedding needs its whole input in one batch
            batch=context if embeds else options.integer("batch", PROMPT_BATCH, 16, 4096),
            prompt_cache_mib=options.integer("prompt_cache_mib", 512, 0, 2**20),
            pooling=pooling,
            vocabulary=_vocabulary(metadata),
        )
        options.finish()
        return settings


def _trained_context(metadata: Mapping[str, str]) -> int:
    trained = metadata.get("context_length", "")
    return int(trained) if trained.isdigit() and int(trained) > 0 else MAX_CONTEXT


def _vocabulary(metadata: Mapping[str, str]) -> int:
    tokens = metadata.get("vocabulary", "")
    return int(tokens) if tokens.isdigit() and int(tokens) > 0 else MAX_VOCABULARY


def _default_threads() -> int:
    """All cores of a small machine; of a larger one, one stays free for the gateway."""
    cores = available_cores()
    return cores if cores <= 2 else cores - 1
