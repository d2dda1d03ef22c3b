"""The engine for embeddings from GGUF files."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson

from modelry.domain.errors import Cancelled, InvalidInput
from modelry.domain.signature import NO_TENSORS, Signature
from modelry.runtime_api.engine import Embeddings, StopSignal
from modelry.runtime_api.tensors import Array
from modelry.runtimes.chat.request_checks import check_tokens
from modelry.runtimes.llamacpp.load_errors import call_error
from modelry.runtimes.llamacpp.native_server import NativeServer
from modelry.runtimes.llamacpp.settings import LlamaSettings


class EmbeddingEngine:
    """A loaded embedding model; the inputs of one call share the slots."""

    def __init__(self, server: NativeServer, settings: LlamaSettings) -> None:
        self._server = server
        self._settings = settings
        self._context = settings.context
        self._threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="embed")

    @property
    def signature(self) -> Signature:
        """No tensors."""
        return NO_TENSORS

    @property
    def capacity(self) -> int:
        """One call at a time; its inputs are worked on together."""
        return 1

    @property
    def context_length(self) -> int:
        """Tokens that one input may have."""
        return self._context

    def embed(self, inputs: Sequence[str | list[int]], stop: StopSignal) -> Embeddings:
        """One vector of length 1 per input. `stop` ends it before the next input.

        Raises:
            ContextLengthExceeded: an input does not fit.
            InvalidInput: an input is empty, or has unknown token ids.
            Cancelled: `stop` was raised.
        """
        if not inputs:
            raise InvalidInput("There is nothing to embed; expected at least one input.")
        found = list(
            self._threads.map(lambda at: self._embed_one(inputs[at], at, stop), range(len(inputs)))
        )
        return Embeddings(
            np.stack([vector for vector, _tokens in found]), [tokens for _vector, tokens in found]
        )

    def close(self) -> None:
        """Free the model."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._server.close()

    def _embed_one(
        self, item: str | list[int], position: int, stop: StopSignal
    ) -> tuple[Array, int]:
        if stop.is_set():
            raise Cancelled("The embedding was stopped because its caller went away.")
        param = f"input[{position}]"
        if not item or not isinstance(item, str | list):
            raise InvalidInput(
                f"{param} is empty or no text; expected text or a list of token ids.", param=param
            )
        if isinstance(item, list):
            check_tokens(item, self._settings.vocabulary, param)
        body = {"input": item, "encoding_format": "base64"}
        answer = self._server.embed(orjson.dumps(body))
        if "error" in answer:
            raise call_error(answer["error"], self._context, param)
        vector = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
        return vector, int(answer["usage"]["prompt_tokens"])
