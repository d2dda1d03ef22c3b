"""From tokens to text: whole characters, and stops that may come in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelry.runtimes.openvino.token_text import TokenText


def read(raw: bytes, cuts: list[int], stops: list[str]) -> tuple[str, bool]:
    """`raw` cut into tokens at `cuts`, read until a stop."""
    ends = [*sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
    pieces = [raw[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    text = TokenText(lambda token: pieces[token], stops)
    parts = []
    for token in range(len(pieces)):
        parts.append(text.feed(token))
        if text.is_stopped:
            break
    return "".join(parts) + text.finish(), text.is_stopped


@given(st.text(), st.lists(st.integers(0, 100)))
def test_text_is_whole_however_it_is_cut(text: str, cuts: list[int]) -> None:
    raw = text.encode("utf-8", "replace")
    assert read(raw, cuts, []) == (raw.decode(), False)


@given(
    st.text("abc", max_size=20),
    st.lists(st.integers(0, 20)),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_it_ends_before_a_stop_however_it_is_cut(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    told, is_stopped = read(text.encode(), cuts, stops)
    assert is_stopped == any(stop in text for stop in stops)
    assert text.startswith(told)
    assert not any(stop in told for stop in stops)
    if not is_stopped:
        assert told == text
