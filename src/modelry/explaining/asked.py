"""What is asked of an explanation as one content, for those that are made later.

Four bytes with the length of a JSON object (`item`, `options`, `wish`), the object, and the bytes
that the item's values are places in.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput
from modelry.explaining.contract import (
    LEAST_SECONDS,
    MOST_CALLS,
    MOST_CHANGES,
    MOST_SECONDS,
    Wish,
)
from modelry.runtime_api.frames import encode_header
from modelry.runtime_api.items import decode_item, encode_items

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Asked:
    """An item, options of its prediction, and how it shall be explained."""

    item: Mapping[str, Any]
    options: Mapping[str, Any]
    wish: Wish

    def to_bytes(self) -> bytes:
        """As one content.

        Raises:
            InvalidInput: it is nested too deeply.
        """
        (item,), body = encode_items([self.item])
        head = encode_header(
            {"item": item, "options": dict(self.options), "wish": self.wish.to_wire()}
        )
        return _LENGTH.pack(len(head)) + head + body

    @classmethod
    def from_bytes(cls, content: bytes) -> Asked:
        """What `to_bytes` wrote.

        Raises:
            InvalidInput: the content is something else.
        """
        try:
            (length,) = _LENGTH.unpack_from(content)
            head = orjson.loads(content[_LENGTH.size : _LENGTH.size + length])
            item, options = dict(head["item"]), dict(head["options"])
            wished = dict(head["wish"])
            wish = Wish.from_wire(wished)
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            raise _no_question() from None
        if not _is_fit(wished):
            raise _no_question()
        return cls(decode_item(item, content[_LENGTH.size + length :]), options, wish)


def _is_fit(wish: Mapping[str, Any]) -> bool:
    calls, seed, changes = (wish.get(name) for name in ("calls", "seed", "most_changes"))
    seconds = wish.get("seconds")
    return (
        isinstance(wish.get("method"), str | None)
        and (wish.get("target") is None or type(wish["target"]) in (str, int))
        and (calls is None or (type(calls) is int and 2 <= calls <= MOST_CALLS))
        and (seconds is None or _is_time(seconds))
        and type(seed) is int
        and 0 <= seed < 2**32
        and type(wish.get("checks")) is bool
        and type(wish.get("picture")) is bool
        and isinstance(wish.get("background"), list)
        and not wish.get("given")
        and isinstance(wish.get("changeable"), dict)
        and isinstance(wish.get("goal"), dict)
        and (changes is None or (type(changes) is int and 1 <= changes <= MOST_CHANGES))
    )


def _is_time(seconds: Any) -> bool:
    return type(seconds) in (int, float) and LEAST_SECONDS <= seconds <= MOST_SECONDS


def _no_question() -> InvalidInput:
    return InvalidInput(
        "The content is no question for an explanation; ask for one at POST /v1/explanations.",
        param="input",
    )
