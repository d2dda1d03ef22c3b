"""llama.cpp in this process: the tokens, the chat template and the likelihoods that will serve.

Training asks the engine itself, so that what is learnt is what the served model sees.
"""

from __future__ import annotations

import http.client
import secrets
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson
import xllamacpp

from modelry.domain.errors import ModelFailed

_TIMEOUT_S = 60.0
_ERRORS_ONLY = 1
_BATCH = 256
_LIKELIEST = 1000
"""How many tokens' likelihoods are asked for: each is some 100 bytes of JSON."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Likeliest:
    """The tokens that are likeliest to come next; at most 1,000, of the rest nothing is told."""

    ids: npt.NDArray[np.int64]
    log_probabilities: Floats


class Refused(Exception):
    """The engine answered with an error; the message is its own."""


class ServingEngine:
    """One loaded model, as the runtime `llamacpp` loads it; two at once would block each other.

    Args:
        model: the GGUF file.
        context: tokens that it may be asked about.
        threads: that compute.
        adapter: a GGUF file of adapters that is added to the weights.

    Raises:
        ModelFailed: it cannot be loaded.
    """

    def __init__(
        self, model: Path, *, context: int, threads: int, adapter: Path | None = None
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="modelry-"))
        self._socket = self._folder / "engine.sock"
        self._key = secrets.token_urlsafe(24)
        self._adapted = adapter is not None
        try:
            self._server = xllamacpp.Server(self._parameters(model, context, threads, adapter))
        except RuntimeError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ModelFailed(f"llama.cpp cannot load the model: {str(error)[:300]}") from None
        # likelihoods are told with a token that is whole text, and not with one that ends the
        # answer or is half a letter: this one is always chosen, which changes none of them
        self._plain = self.tokens("a", begins=False)[-1]
        # ending it before the thread that works off its queue has begun would wait for ever
        self._complete([self._plain], 1)

    def _parameters(self, model: Path, context: int, threads: int, adapter: Path | None) -> Any:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(model)
        parameters.hostnames = [str(self._socket)]
        parameters.api_keys = [self._key]
        parameters.offline = True
        parameters.ui = False
        parameters.endpoint_slots = False
        parameters.verbosity = _ERRORS_ONLY
        parameters.n_gpu_layers = 0
        parameters.n_parallel = 1
        parameters.n_ctx = context
        parameters.fit_params = False
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.cache_ram_mib = 0
        parameters.prefill_assistant = False  # a last answer is a turn like others
        parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        if adapter is not None:
            parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        return parameters

    @property
    def takes_system_messages(self) -> bool:
        """Whether the chat template has a place for them."""
        abilities = self._ask("/props").get("chat_template_caps") or {}
        return bool(abilities.get("supports_system_role", True))

    def prompt(self, messages: Sequence[dict[str, str]], *, asks: bool) -> str:
        """The text that the chat template makes of a conversation.

        Args:
            messages: the turns.
            asks: whether it ends where the assistant is to answer.

        Raises:
            Refused: the template does not take such a conversation.
        """
        body = {"messages": list(messages), "add_generation_prompt": asks}
        return str(self._ask("/apply-template", body)["prompt"])

    def tokens(self, text: str, *, begins: bool) -> list[int]:
        """The tokens of a text that a chat template made; `begins` when nothing is before it."""
        body = {"content": text, "add_special": begins, "parse_special": True}
        return [int(one) for one in self._ask("/tokenize", body)["tokens"]]

    def likeliest(self, tokens: Sequence[int], vocabulary: int) -> Likeliest:
        """Which tokens come after `tokens`."""
        told = self._complete(tokens, min(_LIKELIEST, vocabulary))
        return Likeliest(
            np.array([int(one["id"]) for one in told]),
            np.array([float(one["logprob"]) for one in told], np.float32),
        )

    def _complete(self, tokens: Sequence[int], count: int) -> list[dict[str, Any]]:
        body: dict[str, Any] = {
            "prompt": list(tokens),
            "n_predict": 1,
            "n_probs": count,
            "temperature": 0.0,
            "logit_bias": [[self._plain, 1000.0]],
            "cache_prompt": True,
        }
        if self._adapted:
            body["lora"] = [{"id": 0, "scale": 1.0}]
        try:
            answer = self._ask("/completion", body)
            found: list[dict[str, Any]] = answer["completion_probabilities"][0]["top_logprobs"]
        except (Refused, KeyError, IndexError) as error:
            raise ModelFailed(f"llama.cpp gave no likelihoods: {error}") from None
        return found

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
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
            raise Refused(_reason(raw) or f"status {response.status}")
        return orjson.loads(raw)

    def close(self) -> None:
        """Let the model go."""
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _reason(raw: bytes) -> str:
    try:
        return " ".join(str(orjson.loads(raw)["error"]["message"]).split())[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
