"""Cuts texts into messages, lines, sentences or words that can be left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.tensors import Array

LEVELS = ("messages", "lines", "sentences", "words")
MOST_PIECES = 256
FEW_WORDS = 24
"""Texts of no more words are cut into words by themselves."""
_WHOLE = re.compile(r"\S(?:.*\S)?", re.DOTALL)
_LINE = re.compile(r"\S(?:.*\S)?")
_WORD = re.compile(r"\w+|[^\w\s]+")
_STOPS = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*|[\u3002\uff01\uff1f]")
_ALWAYS_STOP = "\u3002\uff01\uff1f"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one of several texts.

    Attributes:
        text: which one.
        start, end: where it lies there, in characters.
        until: how far is left out with it: the white space behind it, too.
    """

    text: int
    start: int
    end: int
    until: int


def pieces_of(texts: Sequence[str], level: str, within: Sequence[int] | None = None) -> list[Piece]:
    """The pieces of texts, in order.

    Args:
        texts: what is cut.
        level: one of `LEVELS`.
        within: the texts that are cut; all by default.
    """
    chosen = range(len(texts)) if within is None else within
    return [piece for at in chosen for piece in _cut(at, texts[at], 0, len(texts[at]), level)]


def words_of(texts: Sequence[str], piece: Piece) -> list[Piece]:
    """The words of a piece."""
    return _cut(piece.text, texts[piece.text], piece.start, piece.until, "words")


def fitting(
    texts: Sequence[str], level: str | None, within: Sequence[int] | None, param: str
) -> tuple[str, list[Piece]]:
    """The pieces at the level that is asked for, or at one that suits the texts.

    Raises:
        InvalidInput: there is nothing to leave out, or there are too many pieces.
    """
    if level is None:
        return _suiting(texts, within, param)
    if level not in LEVELS:
        raise InvalidInput(
            f"level is '{level[:40]}'; expected one of: {', '.join(LEVELS)}.", param="level"
        )
    pieces = pieces_of(texts, level, within)
    if len(pieces) > MOST_PIECES:
        raise InvalidInput(
            f"There are {len(pieces)} {level}; at most {MOST_PIECES} can be explained. Ask for a "
            "coarser level.",
            param="level",
        )
    return level, _some(pieces, param)


def _suiting(
    texts: Sequence[str], within: Sequence[int] | None, param: str
) -> tuple[str, list[Piece]]:
    words = pieces_of(texts, "words", within)
    if len(words) <= FEW_WORDS:
        return "words", _some(words, param)
    for level in ("sentences", "lines", "messages"):
        pieces = pieces_of(texts, level, within)
        if len(pieces) <= MOST_PIECES:
            # sentences that are all there is of a text tell less than its words
            is_one = len(pieces) == 1 and len(words) <= MOST_PIECES
            return ("words", words) if is_one else (level, pieces)
    raise InvalidInput(
        f"There are {len(pieces)} messages; at most {MOST_PIECES} can be explained.", param=param
    )


def _some(pieces: list[Piece], param: str) -> list[Piece]:
    if not pieces:
        raise InvalidInput(f"{param} has no words that could be explained.", param=param)
    return pieces


def without(texts: Sequence[str], pieces: Sequence[Piece], presence: Array) -> list[str]:
    """The texts without the pieces whose presence (pieces,) is below a half."""
    gone: dict[int, list[Piece]] = {}
    for piece, is_there in zip(pieces, (presence >= 0.5).tolist(), strict=True):
        if not is_there:
            gone.setdefault(piece.text, []).append(piece)
    return [_left(text, gone[at]) if at in gone else text for at, text in enumerate(texts)]


def _left(text: str, gone: Sequence[Piece]) -> str:
    kept: list[str] = []
    at = 0
    for piece in gone:
        kept.append(text[at : piece.start])
        at = piece.until
    kept.append(text[at:])
    return "".join(kept).strip()


def _cut(at: int, text: str, start: int, stop: int, level: str) -> list[Piece]:
    match level:
        case "sentences":
            found = _sentences(text, start, stop)
        case "words":
            found = _matches(_WORD, text, start, stop)
        case _:
            found = _matches(_LINE if level == "lines" else _WHOLE, text, start, stop)
    ends = [*(begin for begin, _ in found[1:]), stop][: len(found)]
    return [Piece(at, begin, end, until) for (begin, end), until in zip(found, ends, strict=True)]


def _matches(pattern: re.Pattern[str], text: str, start: int, stop: int) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text, start, stop)]


def _sentences(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Sentences end with their line, or with a full stop and the like before white space."""
    found: list[tuple[int, int]] = []
    for begin, end in _matches(_LINE, text, start, stop):
        at = begin
        for match in _STOPS.finditer(text, begin, end):
            is_end = text[match.end() : match.end() + 1].isspace() or match[0] in _ALWAYS_STOP
            if is_end and match.end() < end:
                found.append((at, match.end()))
                at = match.end()
                while text[at].isspace():
                    at += 1
        found.append((at, end))
    return found
