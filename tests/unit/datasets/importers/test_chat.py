"""Conversations in OpenAI's form for fine-tuning, and pairs of prompt and completion."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened

from modelry.datasets.conversations import Message, NotAConversation, from_text, to_text
from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, RowsInvalid

QUESTION = {"role": "user", "content": "Where?"}
ANSWER = {"role": "assistant", "content": "Here."}
SYSTEM = {"role": "system", "content": "Be brief."}


def lines(*rows: Any) -> bytes:
    return b"\n".join(orjson.dumps(row) for row in rows)


def texts(tmp_path: Path, *rows: Any, **options: Any) -> list[Any]:
    source = opened(tmp_path, {"rows.jsonl": lines(*rows)}, "chat", **options)
    return [json.loads(one) for one in columns_of(source)["messages"]]


def test_conversations_are_kept_as_canonical_json(tmp_path: Path) -> None:
    odd = {
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "role": "user",
    }
    unlearnt = {**ANSWER, "weight": 0, "name": None}
    got = texts(
        tmp_path,
        {"messages": [QUESTION, ANSWER]},
        {"messages": [{**SYSTEM, "role": "developer"}, odd, unlearnt, QUESTION, ANSWER]},
        {"completion": " Here.", "prompt": "Where?\n"},
    )
    assert got == [
        [QUESTION, ANSWER],
        [SYSTEM, {"role": "user", "content": "a\nb"}, {**ANSWER, "weight": 0}, QUESTION, ANSWER],
        [{"role": "user", "content": "Where?\n"}, {"role": "assistant", "content": " Here."}],
    ]


def test_the_column_is_a_feature_and_files_tell_splits_and_format(tmp_path: Path) -> None:
    row = lines({"messages": [QUESTION, ANSWER]})
    source = opened(tmp_path, {"train.jsonl": row, "validation.jsonl": b"\xef\xbb\xbf" + row})
    assert source.splits == ("train", "validation")
    (column,) = source.schema.columns
    assert (column.name, column.type, column.role) == (
        "messages", ColumnType.TEXT, ColumnRole.FEATURE,
    )  # fmt: skip
    assert columns_of(source, "validation") == columns_of(source, "train")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": []}, "'messages' has 0 entries"),
        ({"messages": "Hi"}, "'messages' is no list"),
        ({"messages": ["Hi"]}, r"messages\[0\] is no object"),
        ({"messages": [QUESTION]}, "the last message is of the user"),
        ({"messages": [ANSWER]}, "no message of the user comes before"),
        ({"messages": [SYSTEM, ANSWER]}, "no message of the user comes before"),
        ({"messages": [SYSTEM]}, "no message of the user comes before"),
        (
            {"messages": [QUESTION, SYSTEM, ANSWER]},
            r"messages\[1\] is of the system; only the first",
        ),
        ({"messages": [QUESTION, {**ANSWER, "role": "bot"}]}, "the role 'bot'; expected one of"),
        ({"messages": [QUESTION, {**ANSWER, "content": " "}]}, r"messages\[1\].content is empty"),
        ({"messages": [QUESTION, {"role": "assistant"}]}, r"messages\[1\].content is empty"),
        ({"messages": [QUESTION, {**ANSWER, "content": 3}]}, "content is no text"),
        ({"messages": [QUESTION, {**ANSWER, "weight": 0}]}, "nothing to learn"),
        ({"messages": [QUESTION, {**ANSWER, "weight": 0.5}]}, "the weight 0.5"),
        ({"messages": [{**QUESTION, "weight": 1}, ANSWER]}, "the weight 1"),
        ({"messages": [QUESTION, {**ANSWER, "tool_calls": [{}]}]}, "calls of tools are not learnt"),
        ({"messages": [{**QUESTION, "name": "Ann"}, ANSWER]}, r"messages\[0\] has 'name'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]},
            "a part 'image_url'; only texts",
        ),
        ({"messages": [QUESTION, ANSWER], "tools": []}, "it has 'tools', and calls of tools"),
        ({"prompt": "a"}, "it has 'prompt'; expected 'messages', or"),
        ({"prompt": "a", "completion": ""}, "'completion' is empty"),
        ({}, "it is empty"),
        ([1], "it is a list; expected an object"),
    ],
)
def test_rows_that_are_none_are_named(tmp_path: Path, row: Any, expected: str) -> None:
    good = {"messages": [QUESTION, ANSWER]}
    with pytest.raises(RowsInvalid, match=f"rows.jsonl, line 2: .*{expected}"):
        texts(tmp_path, good, row)
    assert texts(tmp_path, good, row, good, on_bad_rows="skip") == [[QUESTION, ANSWER]] * 2


CONTENT = st.text(min_size=1).filter(str.strip)


@given(
    st.booleans(),
    st.lists(st.tuples(CONTENT, CONTENT, st.booleans()), min_size=1, max_size=4),
    CONTENT,
)
@settings(max_examples=30)
def test_what_is_kept_is_read_again(has_system: bool, turns: Any, last: str) -> None:
    messages = [Message("system", last)] if has_system else []
    for question, answer, is_learnt in turns:
        messages += [Message("user", question), Message("assistant", answer, is_learnt)]
    messages += [Message("user", last), Message("assistant", last)]
    assert from_text(to_text(messages)) == tuple(messages)


@given(st.binary(max_size=200))
@settings(max_examples=50)
@example(b"[")
def test_whatever_a_file_holds(data: bytes) -> None:
    is_list = data.split(b"\n")[0].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    told = pytest.raises(InvalidInput, match="holds a JSON list") if is_list else nullcontext()
    with tempfile.TemporaryDirectory() as folder, told:
        columns_of(opened(Path(folder), {"x": data}, "chat", on_bad_rows="skip"))


def test_text_that_is_no_conversation() -> None:
    with pytest.raises(NotAConversation, match="it is no JSON"):
        from_text("hello")
