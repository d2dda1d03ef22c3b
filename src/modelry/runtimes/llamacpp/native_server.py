"""llama.cpp's server inside this process: started, called and ended."""

from __future__ import annotations

import http.client
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import xllamacpp

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.engine_reasons import file_name
from modelry.runtimes.llamacpp.load_errors import reason_in
from modelry.runtimes.llamacpp.settings import LlamaSettings
from modelry.runtimes.native_stderr import caught_stderr

_ERRORS_ONLY = 1
_LOCAL_TIMEOUT_S = 30.0
_POOLINGS = {
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
}

OnChunk = Callable[[str], bool]
"""Takes one chunk of JSON; True ends the generation at once. Must not raise: it is swallowed."""


class NativeServer:
    """One loaded model.

    The library insists on listening somewhere: it gets a Unix socket in a folder that only this
    user can enter, and a key that nobody else knows. Generation goes through direct calls; the
    socket serves the small questions for which there are none.
    """

    def __init__(self, settings: LlamaSettings, spec: LoadSpec) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="modelry-"))
        self._key = secrets.token_urlsafe(24)
        self._socket = self._folder / "engine.sock"
        try:
            with caught_stderr() as caught:
                self._server = xllamacpp.Server(self._parameters(settings))
        except RuntimeError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            reason = reason_in(caught.text, str(error), spec)
            raise ModelFailed(
                f"llama.cpp cannot load '{file_name(spec, 'model')}': {reason}"
            ) from None
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._see_it_work(embeds=settings.embeds)

    def _see_it_work(self, *, embeds: bool) -> None:
        """Have one token computed.

        The library says that it is ready before the thread that works off its queue has begun; to
        end it in between waits for ever.
        """
        if embeds:
            self.embed(b'{"input": "a"}')
        else:
            body = {"prompt": "a", "max_tokens": 1, "stream": True, "cache_prompt": False}
            self.complete(orjson.dumps(body), lambda _chunk: False)

    def _parameters(self, settings: LlamaSettings) -> Any:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(settings.path)
        parameters.model_alias = {"model"}
        parameters.hostnames = [str(self._socket)]
        parameters.api_keys = [self._key]
        parameters.offline = True
        parameters.ui = False
        parameters.endpoint_slots = False
        parameters.verbosity = _ERRORS_ONLY
        parameters.n_gpu_layers = 0
        parameters.n_parallel = settings.slots
        parameters.n_ctx = settings.slots * settings.context
        parameters.fit_params = False  # it would load twice and change the context behind our back
        parameters.n_batch = settings.batch
        parameters.n_ubatch = settings.batch
        parameters.cpuparams.n_threads = settings.threads
        parameters.cpuparams_batch.n_threads = settings.threads
        parameters.cache_ram_mib = settings.prompt_cache_mib
        parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        if settings.adapter is not None:
            parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(settings.adapter), 1.0)]
        if settings.embeds:
            parameters.embedding = True
            parameters.cache_prompt = False  # it would save time on what another tenant embedded
            parameters.cache_ram_mib = 0
            # else sequences of unequal lengths are cut at the shortest, and a mean is taken over
            # the last piece alone: a text's vector would depend on its neighbours
            parameters.kv_unified = True
            if settings.pooling in _POOLINGS:
                parameters.pooling_type = _POOLINGS[settings.pooling]
        return parameters

    def chat(self, body: bytes, on_chunk: OnChunk) -> None:
        """Run a chat completion; returns when it has ended."""
        self._running().handle_chat_completions(body.decode(), on_chunk)

    def complete(self, body: bytes, on_chunk: OnChunk) -> None:
        """Run a text completion; returns when it has ended."""
        self._running().handle_completions(body.decode(), on_chunk)

    def embed(self, body: bytes) -> dict[str, Any]:
        """Embed; returns the library's answer, which may be an error."""
        answer: dict[str, Any] = orjson.loads(self._running().handle_embeddings(body.decode()))
        return answer

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask one of the library's small questions over its socket (`/props`, `/tokenize` …).

        Raises:
            ModelFailed: it did not answer as expected.
        """
        connection = _LocalConnection(self._socket)
        try:
            connection.request(
                "GET" if body is None else "POST",
                path,
                None if body is None else orjson.dumps(body),
                {"Authorization": f"Bearer {self._key}"},
            )
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ModelFailed(f"llama.cpp did not answer {path}: {error}.") from None
        finally:
            connection.close()
        if response.status != 200:
            raise ModelFailed(f"llama.cpp answered {path} with status {response.status}.")
        answer: dict[str, Any] = orjson.loads(raw)
        return answer

    def _running(self) -> Any:
        if self._server is None:
            raise ModelFailed("The model has been unloaded; load it again.")
        return self._server

    def close(self) -> None:
        """End it, if it has not ended yet; no call may be running."""
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_LOCAL_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
