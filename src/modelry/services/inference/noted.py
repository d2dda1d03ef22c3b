"""What the meter notes of a request besides who asked: what it counts as, and what it chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from modelry.domain.signature import Signature
from modelry.runtime_api.generation import ChatRequest, CompletionRequest


def units_of_tensors(
    entries: Sequence[Mapping[str, Any]], signature: Signature
) -> Mapping[str, int]:
    """What tensors count as: the rows of their batch, or 1 where a model takes no batches."""
    return {"items": int(entries[0]["shape"][0]) if signature.batched else 1}


def chosen_in(request: ChatRequest | CompletionRequest) -> Mapping[str, Any]:
    """What a generation request chose."""
    chosen = {"n": request.n, "top_logprobs": request.top_logprobs, **asdict(request.sampling)}
    if isinstance(request, ChatRequest):
        chosen["json_schema"] = None if request.json_schema is None else True
        chosen["tools"] = len(request.tools) or None
    return chosen


def parameters_of(chosen: Mapping[str, Any]) -> bytes:
    """The numbers and switches among `chosen`, as JSON; a text could be anybody's words."""
    kept = {name: value for name, value in chosen.items() if isinstance(value, int | float)}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS) if kept else b""
