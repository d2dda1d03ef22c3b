"""Whatever a model writes comes out again, as text or as calls, however it is cut into tokens."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.generation import (
    Finished,
    GenerationEvent,
    TextDelta,
    TokenLogprob,
    TokenUsage,
    ToolCallDelta,
)
from modelry.runtimes.chat.answer import Answer
from modelry.runtimes.chat.readers import (
    CallPiece,
    ForcedCallReader,
    PlainReader,
    Reader,
    SchemaReader,
    TaggedCallReader,
    TextPiece,
)

CUTS = st.lists(st.integers(0, 200), max_size=12)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def read(
    reader: Reader, written: str, cuts: Sequence[int] = (), reason: str = "stop"
) -> tuple[str, list[tuple[str | None, str]], str]:
    """Text, calls (name and arguments) and reason."""
    ends = [*sorted({cut % (len(written) + 1) for cut in cuts}), len(written)]
    pieces = []
    for begin, end in zip([0, *ends], ends, strict=False):
        pieces += reader.feed(written[begin:end], ())
    rest, reason = reader.finish(reason)
    pieces += rest
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextPiece))
    calls: dict[int, tuple[str | None, str]] = {}
    for piece in pieces:
        if isinstance(piece, CallPiece):
            name, arguments = calls.get(piece.call_index, (piece.name, ""))
            calls[piece.call_index] = (name, arguments + piece.arguments)
    return text, list(calls.values()), reason


TAGGED = st.lists(
    st.sampled_from(
        ["a", " ", "<", "<tool_call>", "</tool_call>", '{"name": "f", "arguments": {"x": 1}}',
         '{"name": "unknown"}', "{", "}", "\n"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(TAGGED, CUTS)
@example('a<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>a ', [61])
@example('<tool_call>{"name": "f"}</tool_call>  a', [38])
def test_cuts_do_not_change_what_is_read(written: str, cuts: list[int]) -> None:
    whole = read(TaggedCallReader(["f"]), written)
    assert read(TaggedCallReader(["f"]), written, cuts) == whole


@given(st.text("ab<tool_cal>/", max_size=40), CUTS)
def test_text_without_calls_comes_out_unchanged(written: str, cuts: list[int]) -> None:
    text, calls, reason = read(TaggedCallReader(["f"]), written, cuts)
    assert (text, calls, reason) == (written, [], "stop")


@pytest.mark.parametrize(
    ("written", "text", "calls"),
    [
        ('Sure. <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>', "Sure. ",
         [("f", '{"x":1}')]),
        ('<tool_call>{"name": "f", "arguments": {}}', "", [("f", "{}")]),
        ('<tool_call>{"name": "f"}</tool_call>\n<tool_call>{"name": "g"}</tool_call>', "",
         [("f", "{}"), ("g", "{}")]),
        ('<tool_call>{"name": "f", "parameters": {"y": 2}}</tool_call>', "", [("f", '{"y":2}')]),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', "", [("f", "{}")]),
        ("<tool_call>no json</tool_call>", "<tool_call>no json</tool_call>", []),
        ('<tool_call>{"name": "h"}</tool_call>', '<tool_call>{"name": "h"}</tool_call>', []),
    ],
)  # fmt: skip
def test_calls_in_text(written: str, text: str, calls: list[tuple[str, str]]) -> None:
    found = read(TaggedCallReader(["f", "g"]), written)
    assert found == (text, calls, "tool_calls" if calls else "stop")


@given(st.dictionaries(st.just("city"), st.text(), min_size=1), CUTS)
def test_a_forced_call_of_one_tool_is_its_arguments(value: dict[str, str], cuts: list[int]) -> None:
    written = orjson.dumps(value).decode()
    text, calls, reason = read(ForcedCallReader("f", CITY), written, cuts)
    assert (text, calls, reason) == ("", [("f", written)], "tool_calls")


@given(st.text(), CUTS)
def test_a_forced_call_of_several_tools_names_its_tool(city: str, cuts: list[int]) -> None:
    arguments = orjson.dumps({"city": city}).decode()
    branch = {"properties": {"name": {"const": "g"}, "arguments": CITY}}
    written = f'{{"name": "g", "arguments": {arguments}}}'
    found = read(ForcedCallReader(None, {"anyOf": [branch]}), written, cuts)
    assert found == ("", [("g", arguments)], "tool_calls")


def test_a_forced_call_that_was_cut_off_ends_with_length() -> None:
    found = read(ForcedCallReader("f", CITY), '{"city": "Par', reason="length")
    assert found == ("", [("f", '{"city": "Par')], "length")
    found = read(ForcedCallReader(None, CITY), '{"name": "g', reason="length")
    assert found == ('{"name": "g', [], "length")


@pytest.mark.parametrize("written", ["", "Paris", '{"city": 1}', '{"town": "Paris"}', "{} {}"])
def test_complete_answers_are_held_to_their_schema(written: str) -> None:
    for reader in (SchemaReader(CITY), ForcedCallReader("f", CITY)):
        with pytest.raises(ModelFailed, match="JSON schema"):
            read(reader, written)


def test_answers_that_were_cut_off_are_not() -> None:
    assert read(SchemaReader(CITY), '{"city": "P', reason="length")[2] == "length"


class TestAnswer:
    def test_events_come_in_the_order_of_the_contract(self) -> None:
        events: list[GenerationEvent] = []
        answer = Answer(2, PlainReader, events.append)
        answer.text(1, "b")
        answer.text(0, "a")
        answer.text(0, "")
        answer.count(5, 1, 4)
        answer.finish(0, "stop")
        answer.count(5, 2, 0)
        answer.finish(1, "length")
        answer.finish(1, "stop")
        answer.close()
        assert events == [
            TextDelta(1, "b"),
            TextDelta(0, "a"),
            Finished(0, "stop"),
            Finished(1, "length"),
            TokenUsage(5, 3, 4),
        ]

    def test_an_answer_that_never_ended_is_told(self) -> None:
        with pytest.raises(ModelFailed):
            Answer(1, PlainReader, [].append).close()

    def test_calls_that_the_engine_finds_end_with_tool_calls(self) -> None:
        events: list[GenerationEvent] = []
        answer = Answer(1, PlainReader, events.append)
        answer.tool_call(0, 0, "call_1", "f", "{}")
        answer.finish(0, "stop")
        assert events == [ToolCallDelta(0, 0, "call_1", "f", "{}"), Finished(0, "tool_calls")]

    def test_log_probabilities_of_held_text_are_not_lost(self) -> None:
        events: list[GenerationEvent] = []
        answer = Answer(1, lambda: TaggedCallReader(["f"]), events.append)
        tokens = [TokenLogprob(text, -0.1, text.encode()) for text in ("<", "b")]
        answer.text(0, "<", (tokens[0],))
        answer.text(0, "b", (tokens[1],))
        answer.finish(0, "stop")
        told = [one for event in events if isinstance(event, TextDelta) for one in event.logprobs]
        assert told == tokens
