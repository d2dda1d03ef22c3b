"""Items between Python values and JSON with one body: bytes values are places in it.

A bytes value becomes `{"$bytes": [offset, length]}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelry.domain.errors import InvalidInput


def encode_items(items: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], bytes]:
    """Items as JSON types, and the body of their bytes values."""
    parts: list[bytes] = []
    position = 0
    encoded: list[dict[str, Any]] = []
    for item in items:
        wire: dict[str, Any] = {}
        for name, value in item.items():
            if isinstance(value, bytes | bytearray | memoryview):
                wire[name] = {"$bytes": [position, len(value)]}
                parts.append(bytes(value))
                position += len(value)
            else:
                wire[name] = value
        encoded.append(wire)
    return encoded, b"".join(parts)


def decode_item(item: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """An item that `encode_items` wrote.

    Raises:
        InvalidInput: a value points at bytes that are not in the body.
    """
    found: dict[str, Any] = {}
    for name, value in item.items():
        if isinstance(value, dict) and value.keys() == {"$bytes"}:
            found[name] = _slice(name, value["$bytes"], body)
        else:
            found[name] = value
    return found


def _slice(name: str, place: Any, body: bytes) -> bytes:
    if not (
        isinstance(place, list)
        and len(place) == 2
        and all(type(number) is int and number >= 0 for number in place)
        and sum(place) <= len(body)
    ):
        raise InvalidInput(
            f"Item field '{name}' points at bytes that were not sent; expected offset and length "
            "within the body.",
            param=name,
        )
    return body[place[0] : place[0] + place[1]]
