"""What explanations of texts are asked with, from wherever it comes."""

from __future__ import annotations

from typing import Any

import pytest

from modelry.domain.errors import InvalidInput
from modelry.worker.explain_texts import _of_chat, _of_text

TALK = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({}, "messages is missing"),
        ({"messages": "Hi"}, "expected a list"),
        ({"messages": [1]}, r"messages\[0\] is no object"),
        ({"messages": [{"role": "user", "content": 5}]}, "content is int"),
        ({"messages": TALK, "answer": 5}, "answer is 5; expected a text"),
        ({"messages": TALK, "level": []}, "expected a text"),
        ({"messages": TALK, "within": "0"}, "expected a list"),
        ({"messages": TALK, "within": [True]}, "expected places of messages"),
    ],
)
def test_what_is_no_chat_is_told(item: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        _of_chat(item, {}, "")


def test_texts_are_read_as_they_are() -> None:
    with pytest.raises(InvalidInput, match="expected a text"):
        _of_text({"text": ["a"]}, {})
    assert _of_text({"text": "a"}, {}).level == "words"


def test_changed_messages_keep_what_is_not_changed() -> None:
    parts = {
        "role": "user",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }
    talk = [*TALK, parts, {"role": "assistant", "tool_calls": []}]
    asked = _of_chat({"messages": talk}, {}, "guest")
    assert asked.texts == ["Hi", "a", "b", ""]
    first, second = {"message": 1, "part": 0, "role": "user"}, {"message": 1, "part": 1}
    assert asked.places[:3] == [{"message": 0, "role": "user"}, first, {**first, **second}]
    question = asked.as_question(["Hi", "a", "c", ""])
    changed = {"role": "user", "content": [parts["content"][0], {"type": "text", "text": "c"}]}
    assert question.messages == [talk[0], changed, talk[2]]
    assert _of_chat({"messages": talk, "within": [2, 1]}, {}, "").within == [1, 2, 3]
    assert question.cache_salt == "guest"
