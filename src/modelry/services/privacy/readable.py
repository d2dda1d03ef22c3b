"""Calls as people read them: from frames to JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from modelry.domain.errors import ModelryError
from modelry.domain.nesting import is_nested_deeper
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.tensors import unpack_tensors

LEFT_OUT = "left_out_bytes"
"""Stands, with its size, for what is not kept."""
_SALT = "cache_salt"
_MOST_LEVELS = 240
"""Of what is kept; JSON is written up to 254 levels deep."""


def check_depth(content: Any) -> None:
    """See that what is kept can be told and exported: that is written within other JSON.

    Raises:
        ValueError: it cannot.
    """
    if is_nested_deeper(content, _MOST_LEVELS):
        raise ValueError("nested too deeply")


def left_out(size_bytes: int) -> dict[str, int]:
    """What stands for something that is not kept."""
    return {LEFT_OUT: size_bytes}


class Reader:
    """Reads the frames of one deployment's calls.

    Args:
        attachments: keep bytes, such as images.
        tensor_values: keep the numbers in tensors.
    """

    def __init__(self, *, attachments: bool, tensor_values: bool) -> None:
        self._attachments = attachments
        self._tensor_values = tensor_values

    def input(self, kind: int, header: bytes, body: bytes | None) -> Any:
        """What was asked; `body` is None where it is too large to be kept."""
        asked = orjson.loads(header)
        if kind == Kind.GENERATE:
            for wanted in asked.values():
                wanted.pop(_SALT, None)
            return self._without_data(asked)
        asked.pop(_SALT, None)
        if kind == Kind.EMBED:
            return asked
        if "inputs" in asked:
            return {**asked, "inputs": self._tensors(asked["inputs"], body)}
        items = [self._attached(item, body) for item in asked["items"]]
        for item in items:
            if "messages" in item:  # a conversation that is explained: its images are data URLs
                item["messages"] = self._without_data(item["messages"])
        return {**asked, "items": items}

    def output(self, header: bytes, body: bytes | None) -> Any:
        """What was answered in one piece."""
        answered = orjson.loads(header)
        for name in ("outputs", "arrays"):
            if name in answered:
                answered[name] = self._tensors(answered[name], body)
        return answered

    def _tensors(self, entries: Sequence[Mapping[str, Any]], body: bytes | None) -> list[Any]:
        described = [
            {name: entry[name] for name in ("name", "datatype", "shape")} for entry in entries
        ]
        if not self._tensor_values:
            return described
        if body is None:
            sizes = [entry["size"] for entry in entries]
            return [
                {**one, "values": left_out(size)}
                for one, size in zip(described, sizes, strict=True)
            ]
        try:
            arrays = unpack_tensors(entries, body)
        except ModelryError:
            return described
        return [{**one, "values": _plain(arrays[one["name"]].tolist())} for one in described]

    def _attached(self, value: Any, body: bytes | None) -> Any:
        if isinstance(value, dict):
            place = value.get("$bytes")
            if isinstance(place, list) and len(value) == 1:
                start, size = place
                if not self._attachments or body is None:
                    return left_out(size)
                return {"base64": base64.b64encode(body[start : start + size]).decode()}
            return {name: self._attached(inner, body) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._attached(inner, body) for inner in value]
        return value

    def _without_data(self, value: Any) -> Any:
        """Data URLs (images in a chat) are attachments as well."""
        if self._attachments:
            return value
        if isinstance(value, str):
            return left_out(len(value)) if value.startswith("data:") else value
        if isinstance(value, dict):
            return {name: self._without_data(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._without_data(inner) for inner in value]
        return value


def whole_generation(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A streamed answer, put together: the text of each choice, why it ended, tools called."""
    texts: dict[int, list[str]] = {}
    reasons: dict[int, str] = {}
    calls: dict[tuple[int, int], dict[str, Any]] = {}
    usage: Any = None
    for event in events:
        index = int(event.get("index", 0))
        if "text" in event:
            texts.setdefault(index, []).append(event["text"])
        elif "finished" in event:
            reasons[index] = event["finished"]
        elif "usage" in event:
            usage = event["usage"]
        elif "tool" in event:
            _add_tool(calls, event["tool"])
    choices = [
        {
            "index": index,
            "text": "".join(texts.get(index, ())),
            "finish_reason": reasons.get(index),
            "tool_calls": [call for (choice, _), call in sorted(calls.items()) if choice == index],
        }
        for index in sorted(texts.keys() | reasons.keys() | {choice for choice, _ in calls})
    ]
    return {"choices": choices, "usage": usage}


def _add_tool(calls: dict[tuple[int, int], dict[str, Any]], delta: Mapping[str, Any]) -> None:
    key = (int(delta.get("index", 0)), int(delta.get("call_index", 0)))
    call = calls.setdefault(key, {"name": None, "arguments": ""})
    if delta.get("name"):
        call["name"] = delta["name"]
    call["arguments"] += delta.get("arguments") or ""


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
