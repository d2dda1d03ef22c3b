"""Log-probabilities in the shapes of chat and of completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelry.runtime_api.generation import TokenLogprob

LEAST = -9999.0
"""Stands for minus infinity, which JSON cannot tell."""


def chat_logprobs(items: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`{"content": [{token, logprob, bytes, top_logprobs}…], "refusal": null}`."""
    content = [
        _entry(item.token, item.logprob, item.raw)
        | {"top_logprobs": [_entry(token, logprob, raw) for token, logprob, raw in item.top]}
        for item in items
    ]
    return {"content": content, "refusal": None}


def _entry(token: str, logprob: float, raw: bytes) -> dict[str, Any]:
    return {"token": token, "logprob": max(logprob, LEAST), "bytes": list(raw)}


class LegacyLogprobs:
    """Gathers the log-probabilities of one choice of a completion, with places in its text.

    Args:
        top: how many alternatives were asked for; 0 leaves them out.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._position = 0

    def part(self, text: str, items: Iterable[TokenLogprob]) -> dict[str, Any]:
        """The entry for the next `text` of the choice, whose tokens are `items`."""
        found: dict[str, Any] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [] if self._top else None,
            "text_offset": [],
        }
        offset = self._position
        for item in items:
            found["tokens"].append(item.token)
            found["token_logprobs"].append(max(item.logprob, LEAST))
            found["text_offset"].append(offset)
            if self._top:
                found["top_logprobs"].append(
                    {token: max(logprob, LEAST) for token, logprob, _ in item.top}
                )
            offset += len(item.token)
        self._position += len(text)
        return found


def joined(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The entries of one choice as one."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, values in part.items():
            found[key] = values if values is None else found.get(key, []) + values
    return found
