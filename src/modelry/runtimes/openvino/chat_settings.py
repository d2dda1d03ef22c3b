"""How a GGUF file is to be served: from the manifest, the engine options and the file."""

from __future__ import annotations

from dataclasses import dataclass

import openvino_genai

from modelry.manifest.inspect.facts import FileFacts
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.context import vocabulary_of, wanted_context
from modelry.runtimes.engine_options import EngineOptions, shared_cores

DEFAULT_SLOTS = 8
MAX_SLOTS = 64
STEP_TOKENS = 256
"""Tokens worked on between two looks at who went away; a step holds the interpreter's lock."""
BLOCK_TOKENS = 32
"""Tokens of one block of OpenVINO's key-value cache on a CPU."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How the pipeline is made. `context` is what one request may have, in tokens.

    `prefix_cache` keeps finished prompts for requests that begin alike, whoever asked them.
    """

    slots: int
    context: int
    vocabulary: int
    threads: int
    batch: int
    kv_cache: str
    prefix_cache: bool

    @classmethod
    def of(cls, spec: LoadSpec, facts: FileFacts) -> ChatSettings:
        """The settings of `spec`.

        Raises:
            InvalidInput: an engine option or the context is out of range.
        """
        options = EngineOptions(spec.options, "openvino")
        settings = cls(
            slots=options.integer("slots", DEFAULT_SLOTS, 1, MAX_SLOTS),
            context=wanted_context(spec, options, facts.metadata),
            vocabulary=vocabulary_of(facts.metadata),
            threads=options.integer("threads", shared_cores(), 1, 512),
            batch=options.integer("batch", STEP_TOKENS, 16, 4096),
            kv_cache=options.choice("kv_cache", "f16", ("f16", "u8")),
            prefix_cache=options.choice("prefix_cache", "on", ("on", "off")) == "on",
        )
        options.finish()
        return settings

    def scheduler(self) -> openvino_genai.SchedulerConfig:
        """Room for every slot's whole context; finished prompts may stay until it is needed."""
        config = openvino_genai.SchedulerConfig()
        config.enable_prefix_caching = self.prefix_cache
        config.dynamic_split_fuse = True
        config.max_num_seqs = self.slots
        config.max_num_batched_tokens = self.batch
        config.num_kv_blocks = self.slots * (-(-self.context // BLOCK_TOKENS) + 1)
        return config

    def properties(self) -> dict[str, object]:
        """Properties of the compiled model; the precision is the one that was compared."""
        return {
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": self.kv_cache,
            "INFERENCE_NUM_THREADS": self.threads,
        }
