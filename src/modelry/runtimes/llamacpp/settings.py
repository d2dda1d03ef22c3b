"""How a GGUF file is to be served: from the manifest, the engine options and the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.context import vocabulary_of, wanted_context
from modelry.runtimes.engine_options import EngineOptions, shared_cores
from modelry.runtimes.engine_reasons import file_name
from modelry.runtimes.gguf_files import gguf_metadata
from modelry.runtimes.model_files import main_file

DEFAULT_SLOTS = 4
MAX_SLOTS = 64
PROMPT_BATCH = 256
"""Prompt tokens between two looks at whether the caller is still there. Measured: as fast as the
engine's 2,048, half the time to the first token with several streams, and a cancelled prompt
ends within one batch instead of at its end."""
SPIN_COUNT = 300
"""How often a thread looks whether the others are done before it sleeps. Measured with 2 threads
on 2 cores, tokens/s of one stream after its prompt: on an idle machine 55, with 10,000 looks 85;
beside a busy process 40, with 10,000 looks 9."""
ADAPTER_ROLE = "adapter"
"""Of the file with LoRA adapters in versions that have one."""
POOLINGS = ("model", "mean", "cls", "last")


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """What the engine is started with.

    `context` is what one request may have, in tokens; the engine's own figure is `context` times
    `slots`. `prompt_cache_mib` bounds prompts that are kept beside the slots. `vocabulary`
    is the number of tokens that the model knows. `adapter` is added to all answers' weights.
    """

    path: Path
    adapter: Path | None
    embeds: bool
    context: int
    slots: int
    threads: int
    batch: int
    prompt_cache_mib: int
    pooling: str
    vocabulary: int
    spin: int

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
        context = wanted_context(spec, options, metadata)
        pooling = options.choice("pooling", "model", POOLINGS)
        if pooling == "model" and "pooling_type" not in metadata:
            pooling = "mean"
        settings = cls(
            path=path,
            adapter=spec.files.get(ADAPTER_ROLE),
            embeds=embeds,
            context=context,
            slots=options.integer("slots", DEFAULT_SLOTS, 1, MAX_SLOTS),
            threads=options.integer("threads", shared_cores(), 1, 512),
            # an embedding needs its whole input in one batch
            batch=context if embeds else options.integer("batch", PROMPT_BATCH, 16, 4096),
            prompt_cache_mib=options.integer("prompt_cache_mib", 512, 0, 2**20),
            pooling=pooling,
            vocabulary=vocabulary_of(metadata),
            spin=options.integer("spin", SPIN_COUNT, 0, 10**9),
        )
        options.finish()
        return settings
