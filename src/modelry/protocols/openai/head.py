"""What stands at the top of every generated answer and of each of its chunks."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from modelry.runtime_api.generation import TokenUsage
from modelry.services.inference.routing import Target

VERSION_HEADER = "x-modelry-version"


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """Id, time (Unix seconds), model and version of one answer."""

    answer_id: str
    created: int
    model: str
    fingerprint: str

    def fields(self, kind: str) -> dict[str, Any]:
        """The head as an object of the given kind begins."""
        return {
            "id": self.answer_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def answer_head(target: Target, prefix: str) -> AnswerHead:
    """The head of a new answer of `target`; `prefix` is `chatcmpl` or `cmpl`."""
    digest = target.version.digest.rpartition(":")[2]
    return AnswerHead(
        f"{prefix}-{secrets.token_hex(12)}",
        int(time.time()),
        target.deployment.name,
        f"fp_{digest[:12]}",
    )


def version_header(target: Target) -> dict[str, str]:
    """The header that names the version that answered."""
    return {VERSION_HEADER: target.version.ref}


def usage_of(usage: TokenUsage) -> dict[str, Any]:
    """Token counts as OpenAI writes them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
