"""Asks the engine how likely it finds an answer after changed questions; each one once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.explaining.course import Course
from modelry.explaining.language.cutting import Piece, without
from modelry.runtime_api.answer_scores import GivenAnswer, Question, SupportsAnswerScores
from modelry.runtime_api.tensors import Array

AsQuestion = Callable[[Sequence[str]], Question]
"""A question, of the texts that it is made of."""
_PORTION = 8
"""Questions that are asked at once where somebody wants to know how far it is."""
_CHARACTERS_AT_ONCE = 2**24
"""Of questions that are made at once; only digests are kept of those that were asked."""


class AnswerAsking:
    """Log-probabilities of one answer's tokens, and what asking for them took.

    Args:
        engine: scores.
        as_question: makes a question of texts.
        texts: of the question as it was asked.
        answer: whose tokens are scored.
        course: of the explanation; ends the asking.
    """

    def __init__(
        self,
        engine: SupportsAnswerScores,
        as_question: AsQuestion,
        texts: Sequence[str],
        answer: GivenAnswer,
        course: Course,
    ) -> None:
        self.calls = 0
        self.input_tokens = 0
        self.cached_tokens = 0
        self.left_out = 0
        """Tokens of the answer that the engine cannot score."""
        self._engine = engine
        self._as_question = as_question
        self.texts = texts
        self._answer = answer
        self.course = course
        self._known: dict[bytes, Array] = {}

    def log_probs(self, pieces: Sequence[Piece], presences: Array) -> Array:
        """(n, tokens) for presences (n, pieces); what cannot be scored is 0 everywhere."""
        asked = [_digest(without(self.texts, pieces, one)) for one in presences]
        new = {one: at for at, one in enumerate(asked) if one not in self._known}
        # sorted, questions that begin alike stand beside each other
        order = sorted(new.items(), key=lambda one: presences[one[1]].tolist(), reverse=True)
        at_once = max(1, _CHARACTERS_AT_ONCE // max(1, sum(map(len, self.texts))))
        if self.course.is_watched:
            at_once = min(at_once, _PORTION)
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            texts = [without(self.texts, pieces, presences[at]) for _, at in part]
            self._ask([digest for digest, _ in part], texts)
        return np.stack([self._known[one] for one in asked])

    def _ask(self, digests: Sequence[bytes], asked: Sequence[Sequence[str]]) -> None:
        self.course.look()
        questions = [self._as_question(one) for one in asked]
        scored = self._engine.score_answers(questions, self._answer, self.course.stop)
        rows = scored.log_probs
        unknown = np.isnan(rows)
        self.left_out = int(unknown.all(axis=0).sum())
        rows = np.where(unknown.all(axis=0), 0.0, rows)
        if not np.isfinite(rows).all():
            raise ModelFailed("The model gave no finite log-probability for a changed question.")
        self._known.update(zip(digests, rows, strict=True))
        self.calls += len(asked)
        self.course.asked(len(asked))
        self.input_tokens += scored.input_tokens
        self.cached_tokens += scored.cached_tokens


def _digest(texts: Sequence[str]) -> bytes:
    found = blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8))
        found.update(data)
    return found.digest()
