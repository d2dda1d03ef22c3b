"""Texts in pieces that can be left out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput
from modelry.explaining.language.cutting import LEVELS, fitting, pieces_of, without, words_of


def cut(level: str, *texts: str) -> list[str]:
    return [texts[one.text][one.start : one.end] for one in pieces_of(texts, level)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hi", ["Hi"]),
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ('He said "Yes." Version 1.5 is out…\n- a line', None),
        ("\u4f60\u3002\u6211\uff1f\u597d", ["\u4f60\u3002", "\u6211\uff1f", "\u597d"]),
        (" \n ", []),
        ("Wait... what?! No", ["Wait...", "what?!", "No"]),
    ],
)
def test_sentences(text: str, sentences: list[str] | None) -> None:
    expected = ['He said "Yes."', "Version 1.5 is out…", "- a line"]
    assert cut("sentences", text) == (expected if sentences is None else sentences)


def test_other_levels() -> None:
    texts = ("a b. c\n\nd", " ", "it's")
    assert cut("messages", *texts) == ["a b. c\n\nd", "it's"]
    assert cut("lines", *texts) == ["a b. c", "d", "it's"]
    assert cut("words", *texts) == ["a", "b", ".", "c", "d", "it", "'", "s"]


@given(st.lists(st.text(st.sampled_from("ab .!\n\u3002'"), max_size=30), min_size=1, max_size=3))
def test_pieces_stand_apart_and_leaving_all_out_leaves_nothing(texts: list[str]) -> None:
    for level in LEVELS:
        pieces = pieces_of(texts, level)
        assert without(texts, pieces, np.ones(len(pieces))) == texts
        emptied = without(texts, pieces, np.zeros(len(pieces)))
        touched = {piece.text for piece in pieces}
        assert all(not emptied[at] for at in touched)
        for one, other in pairwise(pieces):
            assert one.start < one.end <= one.until
            assert one.text < other.text or one.until <= other.start
        assert all(
            "".join(cut_words(texts, piece)) == "".join(text_of(texts, piece).split())
            for piece in pieces
        )


def cut_words(texts: list[str], piece: object) -> list[str]:
    return [text_of(texts, word) for word in words_of(texts, piece)]  # type: ignore[arg-type]


def text_of(texts: list[str], piece: object) -> str:
    return texts[piece.text][piece.start : piece.end]  # type: ignore[attr-defined]


def test_a_piece_goes_with_the_space_behind_it() -> None:
    texts = ["Tom is old. Anna is a dentist. Bye.", "Who?"]
    pieces = pieces_of(texts, "sentences")
    assert without(texts, pieces, np.array([1, 0, 1, 1])) == ["Tom is old. Bye.", "Who?"]
    assert without(texts, pieces, np.array([0, 1, 0, 0])) == ["Anna is a dentist.", ""]


def test_the_level_suits_the_texts() -> None:
    assert fitting(["What is it?"], None, None, "messages")[0] == "words"
    many = " ".join(f"Fact {number} is true." for number in range(20))
    assert fitting([many], None, None, "messages")[0] == "sentences"
    assert fitting(["word " * 100], None, None, "messages")[0] == "words"
    assert fitting(["A b. " * 300 + "\nend"], None, None, "messages")[0] == "lines"
    level, pieces = fitting([many, "Who?"], None, [1], "messages")
    assert (level, [piece.text for piece in pieces]) == ("words", [1, 1])


@pytest.mark.parametrize(
    ("texts", "level", "words"),
    [
        ([""], None, "no words that could be explained"),
        (["  \n"], "lines", "no words that could be explained"),
        (["a"], "letters", "expected one of: messages, lines, sentences, words"),
        (["a " * 300], "words", "There are 300 words; at most 256"),
    ],
)
def test_what_cannot_be_cut_is_told(texts: list[str], level: str | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        fitting(texts, level, None, "messages")


def test_a_million_marks_are_cut_at_once() -> None:
    assert len(pieces_of(["!" * 1_000_000 + "x"], "sentences")) == 1
