"""Fills what a request leaves open with the manifest's `defaults`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.generation import ChatRequest, CompletionRequest, Sampling
from modelry.runtimes.chat.request_checks import check_sampling

_SAMPLING_FIELDS = frozenset(field.name for field in fields(Sampling)) - {"logit_bias"}


@dataclass(frozen=True, slots=True)
class ChatDefaults:
    """The manifest's defaults: `system` is the system prompt for chats that bring none."""

    system: str | None
    sampling: Sampling

    @classmethod
    def of(cls, spec: LoadSpec) -> ChatDefaults:
        """The defaults that `spec` declares.

        Raises:
            ModelFailed: an unknown name or a value out of range.
        """
        declared: Mapping[str, Any] = spec.manifest.get("defaults") or {}
        unknown = sorted(set(declared) - _SAMPLING_FIELDS - {"system"})
        if unknown:
            raise ModelFailed(
                f"The manifest's defaults have '{unknown[0][:80]}', which no chat engine knows; "
                f"known are: system, {', '.join(sorted(_SAMPLING_FIELDS))}."
            )
        values = {name: value for name, value in declared.items() if name != "system"}
        stop = values.get("stop", ())
        values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        sampling = Sampling(**values)
        check_sampling(sampling)
        system = declared.get("system")
        return cls(system if isinstance(system, str) and system else None, sampling)

    def fill(self, sampling: Sampling) -> Sampling:
        """`sampling` with the defaults for everything that it leaves open."""
        missing = {
            name: getattr(self.sampling, name)
            for name in _SAMPLING_FIELDS
            if getattr(sampling, name) in (None, ())
        }
        return replace(sampling, **missing)

    def fill_chat(self, request: ChatRequest) -> ChatRequest:
        """`request` with default sampling, and the default system prompt if it has none."""
        messages = request.messages
        if self.system and not any(_is_system(message) for message in messages):
            messages = [{"role": "system", "content": self.system}, *messages]
        return replace(request, messages=messages, sampling=self.fill(request.sampling))

    def fill_completion(self, request: CompletionRequest) -> CompletionRequest:
        """`request` with default sampling."""
        return replace(request, sampling=self.fill(request.sampling))


def _is_system(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") in {"system", "developer"}
