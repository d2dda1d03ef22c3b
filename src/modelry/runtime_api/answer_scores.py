"""How likely a model finds an answer that is given: what explanations of written answers ask.

The question is what the engine is asked otherwise: a `ChatRequest`, or a text for engines that
write texts for texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array

Question: TypeAlias = Any
"""A `ChatRequest`, or a text."""


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer in the model's tokens.

    Attributes:
        text: what people read.
        tokens: its ids.
        spans: of each token where it begins and ends in `text`, in characters; tokens that are
            parts of one character share its place.
    """

    text: str
    tokens: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """What scoring one answer to several questions gave.

    Attributes:
        log_probs: (questions, tokens) float64, the natural logarithm of each token's probability
            after the question and the tokens before it; NaN where the engine cannot tell.
        input_tokens: of all questions together.
        cached_tokens: of these, what the engine still knew from questions that began alike.
    """

    log_probs: Array
    input_tokens: int
    cached_tokens: int = 0


@runtime_checkable
class SupportsAnswerScores(Protocol):
    """Can tell how likely it finds a given answer. Leaves others the engine where they wait."""

    def own_answer(self, question: Question, options: Any, stop: StopSignal) -> GivenAnswer:
        """What the model itself answers; `options` as the engine takes them otherwise.

        Raises:
            ContextLengthExceeded: the question does not fit.
            Cancelled: `stop` was raised.
        """
        ...

    def given_answer(self, text: str) -> GivenAnswer:
        """The tokens of an answer that somebody gives."""
        ...

    def score_answers(
        self, questions: Sequence[Question], answer: GivenAnswer, stop: StopSignal
    ) -> AnswerScores:
        """The log-probabilities of `answer` after each question, without choosing any token.

        Questions that begin alike should stand beside each other.

        Raises:
            ContextLengthExceeded: a question and the answer do not fit.
            Cancelled: `stop` was raised.
            ModelFailed: the engine broke.
        """
        ...
