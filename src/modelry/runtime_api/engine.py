"""What a runtime and the engines that it loads must offer.

An engine says what it can do by implementing `Supports*` protocols; nobody inherits anything.
Engines are called from worker threads: `infer` and `embed` by one thread at a time, `chat`,
`complete` and `write` by up to `capacity` threads at once. Engine calls block; they look at `stop`
often enough to end within one token or one batch.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from modelry.domain.signature import Signature
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, EngineEvent
from modelry.runtime_api.tensors import Array
from modelry.runtime_api.text_to_text import TextOptions, WrittenText


class StopSignal:
    """Tells an engine call to end early; may be raised from another thread at any time."""

    __slots__ = ("_callbacks", "_lock", "_set")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._callbacks: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        """Whether the call should end now."""
        return self._set

    def set(self) -> None:
        """Ask the call to end; runs what `subscribe` was given, once."""
        with self._lock:
            if self._set:
                return
            self._set = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Run `callback` when the signal is raised (at once if it was already)."""
        with self._lock:
            if not self._set:
                self._callbacks.append(callback)
                return
        callback()

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        """Forget `callback`: what it would end is over."""
        with self._lock, contextlib.suppress(ValueError):
            self._callbacks.remove(callback)


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to load and how.

    `files` maps each role of the manifest to a readable path. `manifest` is the resolved
    manifest. `options` are the deployment's engine options (`threads`, `slots`, `context`, …).
    `niceness` is how far the worker stands back behind others, 0 (not) to 19.
    """

    task: str
    runtime: str
    manifest: Mapping[str, Any]
    files: Mapping[str, Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int | None = None
    niceness: int = 0

    def to_wire(self) -> dict[str, Any]:
        """This spec as JSON types."""
        return {
            "task": self.task,
            "runtime": self.runtime,
            "manifest": dict(self.manifest),
            "files": {role: str(path) for role, path in self.files.items()},
            "options": dict(self.options),
            "memory_bytes": self.memory_bytes,
            "niceness": self.niceness,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> LoadSpec:
        """The spec that `to_wire` wrote."""
        files = {role: Path(path) for role, path in wire["files"].items()}
        return cls(**{**wire, "files": files})


@runtime_checkable
class Engine(Protocol):
    """A loaded version."""

    @property
    def signature(self) -> Signature:
        """Tensors in and out; empty for engines without tensors."""
        ...

    @property
    def capacity(self) -> int:
        """How many calls the engine itself works on at once (slots); 1 for tensor engines."""
        ...

    def close(self) -> None:
        """Let go of what the engine holds; it is not called again afterwards."""
        ...


@runtime_checkable
class SupportsTensors(Protocol):
    """Can run one batch of tensors."""

    def infer(self, inputs: Mapping[str, Array], stop: StopSignal) -> dict[str, Array]:
        """All outputs for `inputs`.

        Raises:
            ModelFailed: the engine refused or broke; the message carries its reason.
            Cancelled: `stop` was raised.
        """
        ...


@runtime_checkable
class SupportsChat(Protocol):
    """Can complete a chat."""

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together that one request may have."""
        ...

    def chat(
        self, request: ChatRequest, emit: Callable[[EngineEvent], None], stop: StopSignal
    ) -> None:
        """Generate, emitting deltas, one `Finished` per choice, and `TokenUsage` last.

        An engine that knows the prompt's length early emits `PromptTokens` before all else.

        Raises:
            ContextLengthExceeded: the prompt does not fit.
            Cancelled: `stop` was raised.
        """
        ...


@runtime_checkable
class SupportsCompletion(Protocol):
    """Can go on from plain text."""

    def complete(
        self, request: CompletionRequest, emit: Callable[[EngineEvent], None], stop: StopSignal
    ) -> None:
        """As `SupportsChat.chat`, without a chat template."""
        ...


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors, float32 of shape (inputs, dimensions), and the tokens that each input took."""

    vectors: Array
    token_counts: list[int]


@runtime_checkable
class SupportsTextEmbedding(Protocol):
    """Can embed text by itself (tokeniser inside the engine)."""

    def embed(self, inputs: Sequence[str | list[int]], stop: StopSignal) -> Embeddings:
        """One vector per input, in order.

        Raises:
            ContextLengthExceeded: an input does not fit.
        """
        ...


@runtime_checkable
class SupportsTextToText(Protocol):
    """Can write a text for a text by itself (tokeniser inside the engine)."""

    @property
    def context_length(self) -> int:
        """Tokens that one text may have."""
        ...

    def write(
        self, texts: Sequence[str], options: TextOptions, stop: StopSignal
    ) -> list[WrittenText]:
        """One answer per text, in order; texts of several calls may be worked on together.

        Raises:
            ContextLengthExceeded: a text does not fit; names it.
            Cancelled: `stop` was raised.
        """
        ...


class Runtime(Protocol):
    """Knows how to load one family of formats. Constructed without arguments, in a worker."""

    name: ClassVar[str]
    formats: ClassVar[frozenset[str]]
    """File formats by their detected name: `onnx`, `gguf`, …"""

    def load(self, spec: LoadSpec) -> Engine:
        """Load `spec` or say why not.

        Raises:
            ModelFailed: the files cannot be loaded; the message carries the engine's reason.
            NotSupported: this runtime cannot serve this model faithfully.
        """
        ...
