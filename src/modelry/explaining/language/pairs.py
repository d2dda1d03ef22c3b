"""Why a model finds two texts alike: what their similarity loses without words of either.

Each text is taken apart while the other stays whole. The score is the mean of the two
similarities, so that one explanation tells of both sides; weights are told in similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ModelFailed, NotSupported
from modelry.explaining.checking import Check, checked
from modelry.explaining.contract import Explained, Target, Wish
from modelry.explaining.course import Course, Tell, TimeIsUp
from modelry.explaining.faithfulness import RandomOrders, measure
from modelry.explaining.language.answers import (
    USUAL_CHEAP_CALLS,
    PartCount,
    bounded,
    told_piece,
)
from modelry.explaining.language.cutting import MOST_PIECES, Piece, pieces_of, without
from modelry.explaining.methods import PAIR, check_wishes, method_for
from modelry.explaining.pace import Pace
from modelry.explaining.sentences import sentence
from modelry.explaining.texts import NOTHING
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array

OTHER = "compared_with"
"""The field of an item that holds the second text."""
MOST_AT_ONCE = 64
_SIDES = 2

Embed = Callable[[Sequence[str]], tuple[Array, int]]
"""The vectors (texts, dimensions) of texts, and the tokens that they have together."""


def explain_pair(
    item: Mapping[str, Any],
    embed: Embed,
    wish: Wish,
    stop: StopSignal,
    pace: Pace,
    *,
    tell: Tell | None = None,
) -> Explained:
    """Explain the cosine similarity of the texts `text` and `compared_with` of an item.

    Args:
        item: the texts.
        embed: runs the model.
        wish: how to explain it.
        stop: ends it early.
        pace: how many texts are embedded at once; whoever embeds tells it how long that took.
        tell: is told how far it is.

    Raises:
        InvalidInput: a text has no words or too many, or the wish is wrong.
        NotSupported: an embedding alone has no score that could be explained.
        Cancelled: `stop` was raised.
    """
    course = Course(stop, wish.seconds, tell)
    wish = replace(wish, course=course)
    check_wishes(wish, PAIR)
    if wish.target is not None:
        raise InvalidInput("target is for classes; a pair has one similarity.", param="target")
    name, method = method_for(PAIR, wish)
    texts = _texts(item)
    pieces = _pieces(texts)
    asking = _Similarities(texts, pieces, embed, course, pace)
    chosen = bounded(wish, name, len(pieces), USUAL_CHEAP_CALLS)
    if wish.checks:
        course.keep(RandomOrders(wish.seed).calls(len(pieces)))
    try:
        whole = float(asking.scores(np.ones((1, len(pieces))))[0])
        found = method(asking.scores, PartCount(len(pieces)), chosen)
    except TimeIsUp:
        raise course.too_few_seconds(name) from None
    explaining = asking.calls
    trust = None
    if wish.checks:
        orders = RandomOrders(wish.seed)
        check = Check(
            lambda: [measure(asking.scores, found.weights, orders)], orders.calls(len(pieces))
        )
        measured = checked(check, course)
        if measured is not None:
            trust = replace(measured[0], calls=asking.calls - explaining)
    # the score is the mean over both sides, of which a word changes one
    told = [
        told_piece(texts, piece, _SIDES * weight)
        for piece, weight in zip(pieces, found.weights.tolist(), strict=True)
    ]
    sides = [
        [one for one, piece in zip(told, pieces, strict=True) if piece.text == side]
        for side in range(_SIDES)
    ]
    described = {"kind": "pair", "words": sides[0], OTHER: sides[1]}
    target = Target(0, "similarity", whole)
    told_of = sentence(target, described, trust)
    interval = None if found.interval is None else (_SIDES * found.interval).tolist()
    return Explained(
        {
            "method": name,
            "target": {"index": 0, "label": "similarity", "score": whole},
            "attribution": described,
            "interval": interval,
            "baseline": "the texts without these words, each while the other is whole",
            "parameters": {**found.parameters, "seed": wish.seed},
            "faithfulness": None if trust is None else trust.to_wire(),
            "sentence": f"{told_of} {course.remark()}".rstrip(),
            "cost": course.cost(asking.calls, explaining),
        },
        {"input_tokens": asking.tokens, "explanations": 1, "model_calls": asking.calls},
    )


def _texts(item: Mapping[str, Any]) -> list[str]:
    found = []
    for name in ("text", OTHER):
        text = item.get(name)
        if not isinstance(text, str):
            raise NotSupported(
                f"An embedding is explained by its likeness to another one: send a text as 'text' "
                f"and one as '{OTHER}'.",
                param=name,
            )
        found.append(text)
    return found


def _pieces(texts: Sequence[str]) -> list[Piece]:
    found = []
    for side, name in enumerate(("text", OTHER)):
        words = pieces_of(texts, "words", [side])
        if not words:
            raise InvalidInput(f"{name} has no words that could be explained.", param=name)
        if len(words) > MOST_PIECES:
            raise InvalidInput(
                f"{name} has {len(words)} words; at most {MOST_PIECES} can be explained.",
                param=name,
            )
        found.extend(words)
    return found


class _Similarities:
    """Similarities of texts without some words; each text is embedded once, and its vector let go
    of as soon as its likeness to both whole texts is known.
    """

    def __init__(
        self,
        texts: Sequence[str],
        pieces: Sequence[Piece],
        embed: Embed,
        course: Course,
        pace: Pace,
    ) -> None:
        self.calls = 0
        self.tokens = 0
        self._texts = texts
        self._pieces = pieces
        self._embed = embed
        self._course = course
        self._pace = pace
        self._whole = np.empty((0, 0))
        self._like: dict[str, tuple[float, float]] = {}

    def scores(self, presences: Array) -> Array:
        """The mean over both sides (n,) for presences (n, words)."""
        asked = [without(self._texts, self._pieces, one) for one in presences]
        sides = [[texts[side] or NOTHING for texts in asked] for side in range(_SIDES)]
        if not self._whole.size:
            vectors = {text: self._vectors([text]) for text in dict.fromkeys(self._texts)}
            self._whole = np.concatenate([vectors[text] for text in self._texts])
            self._keep(self._texts, self._whole)
        self._know({*sides[0], *sides[1]})
        left = np.array([self._like[text][1] for text in sides[0]])
        right = np.array([self._like[text][0] for text in sides[1]])
        mean: Array = (left + right) / _SIDES
        return mean

    def _know(self, texts: set[str]) -> None:
        # by length: texts of a run are filled up to the longest of them
        new = sorted(texts - self._like.keys(), key=lambda text: (len(text), text))
        start = 0
        while start < len(new):
            part = new[start : start + min(MOST_AT_ONCE, self._pace.rows)]
            self._keep(part, self._vectors(part))
            start += len(part)

    def _keep(self, texts: Sequence[str], vectors: Array) -> None:
        for text, (first, second) in zip(texts, (vectors @ self._whole.T).tolist(), strict=True):
            self._like[text] = (first, second)

    def _vectors(self, texts: Sequence[str]) -> Array:
        """(texts, dimensions), each of length 1."""
        self._course.look()
        found, tokens = self._embed(texts)
        vectors = np.asarray(found, np.float64)
        self.tokens += tokens
        self.calls += len(texts)
        self._course.asked(len(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise ModelFailed("The model gave a vector with numbers that are not finite.")
        unit: Array = vectors / np.maximum(lengths, 1e-12)
        return unit
