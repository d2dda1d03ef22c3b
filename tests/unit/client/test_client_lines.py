import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.client.errors import UnexpectedAnswer
from modelry.client.lines import MAX_LINE_BYTES, EventSplitter, LineSplitter, json_object


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line)), st.binary(max_size=4), CUTS)
def test_lines_are_the_same_however_the_bytes_are_cut(lines, rest, cuts):
    rest = rest.replace(b"\n", b"")
    splitter = LineSplitter()
    data = b"".join(line + b"\n" for line in lines) + rest
    found = [line for piece in in_pieces(data, cuts) for line in splitter.feed(piece)]
    assert found == [line.removesuffix(b"\r") for line in lines]
    assert splitter.rest == rest


@given(st.lists(st.text(min_size=1), max_size=5), CUTS, st.sampled_from([b"\n", b"\r\n"]))
def test_events_carry_any_text(texts, cuts, end):
    events = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
    data = b": hello" + end + end
    for event in events:
        data += b"event: x" + end + b"data: " + event + end + b"id: 1" + end + end
    splitter = EventSplitter()
    found = [event for piece in in_pieces(data, cuts) for event in splitter.feed(piece)]
    assert found == events


def test_data_of_several_lines_is_one_event():
    assert EventSplitter().feed(b"data: a\ndata:b\n\n") == [b"a\nb"]


def test_an_unfinished_event_is_not_told():
    assert EventSplitter().feed(b"data: a\n") == []


def test_an_endless_line_is_refused():
    splitter = LineSplitter()
    piece = bytes(MAX_LINE_BYTES // 2)
    splitter.feed(piece)
    with pytest.raises(UnexpectedAnswer):
        splitter.feed(piece + b"x")


@pytest.mark.parametrize("raw", [b"", b"1", b"[]", b"{", b"\xff"])
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(UnexpectedAnswer):
        json_object(raw)
