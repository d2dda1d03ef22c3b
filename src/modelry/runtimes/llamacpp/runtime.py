"""Loads GGUF files into llama.cpp."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, ClassVar

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.chat.defaults import ChatDefaults
from modelry.runtimes.llamacpp.settings import LlamaSettings

if TYPE_CHECKING:
    from modelry.runtimes.llamacpp.embedding_engine import EmbeddingEngine
    from modelry.runtimes.llamacpp.generation_engine import GenerationEngine


class LlamaCppRuntime:
    """The runtime `llamacpp`: chat and completion, or embeddings for the task `text-embedding`.

    Engine options: `slots` (choices at once, default 4), `context` (tokens of one request; default
    the manifest's `limits.context`, else the model's own up to 4,096), `threads` (default all
    cores, one less from 3 on), `batch` (prompt tokens per step, default 256), `prompt_cache_mib`
    (memory for prompts kept beside the slots, default 512), `pooling` (embeddings: `model`,
    `mean`, `cls`, `last`; default what the file says, else `mean`) and `spin` (how often a thread
    looks for the others before it sleeps, default 300; 10,000 where nothing else runs).

    A version may have a file with the role `adapter` beside its model: LoRA adapters (GGUF), which
    are added to the weights for every request. Requests do not choose: one without an adapter would
    reuse the cache of one with it.
    """

    name: ClassVar[str] = "llamacpp"
    formats: ClassVar[frozenset[str]] = frozenset({"gguf"})
    _loading: ClassVar[threading.Lock] = threading.Lock()

    def load(self, spec: LoadSpec) -> GenerationEngine | EmbeddingEngine:
        """The engine over the file with the role `model`. Holds the interpreter's lock meanwhile.

        Raises:
            ModelFailed: llama.cpp refused the file; the message carries its reason.
            InvalidInput: an engine option is unknown or out of range.
        """
        settings = LlamaSettings.of(spec)
        defaults = ChatDefaults.of(spec)
        # read by the OpenMP library when it is first loaded, which the imports below do
        os.environ["GOMP_SPINCOUNT"] = str(settings.spin)
        from modelry.runtimes.llamacpp.embedding_engine import EmbeddingEngine
        from modelry.runtimes.llamacpp.generation_engine import GenerationEngine
        from modelry.runtimes.llamacpp.native_server import NativeServer

        with self._loading:
            server = NativeServer(settings, spec)
        try:
            if settings.embeds:
                return EmbeddingEngine(server, settings)
            return GenerationEngine(server, defaults, settings)
        except ModelFailed:
            server.close()
            raise
