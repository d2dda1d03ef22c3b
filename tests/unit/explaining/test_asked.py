"""What is asked of an explanation, on its way to a job and back."""

from __future__ import annotations

import struct

import orjson
import pytest

from modelry.domain.errors import InvalidInput
from modelry.explaining.asked import Asked
from modelry.explaining.contract import Wish


def content(**changes: object) -> bytes:
    wish = {**Wish().to_wire(), **changes}
    head = orjson.dumps({"item": {"text": "a"}, "options": {}, "wish": wish})
    return struct.pack("<I", len(head)) + head


def test_what_is_asked_comes_back() -> None:
    wish = Wish(method="rise", target=3, calls=50, seconds=2.5, background=([1, 2],), picture=True)
    asked = Asked({"image": b"\x00\xff", "text": "ä"}, {"top_k": 3}, wish)
    assert Asked.from_bytes(asked.to_bytes()) == asked


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\x00\x00",
        b"\xff\xff\xff\xff{}",
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 9) + b'{"item":1',
        content(calls="many"),
        content(calls=1),
        content(seconds="many"),
        content(seconds=0),
        content(seconds=True),
        content(seed=-1),
        content(checks=1),
        content(target=1.5),
        content(target=True),
        content(most_changes=7),
        content(most_changes=0),
        content(most_changes=True),
        content(why=True),
        content(background="rows"),
        content(given=[1.0]),
    ],
)
def test_other_contents_are_refused(given: bytes) -> None:
    with pytest.raises(InvalidInput, match="no question for an explanation"):
        Asked.from_bytes(given)
