# ruff: noqa: D102 - the names of the tests say what they check
"""What an engine that scores given answers must do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

from modelry.domain.errors import Cancelled, ContextLengthExceeded
from modelry.runtime_api.answer_scores import SupportsAnswerScores
from modelry.runtime_api.engine import StopSignal
from modelry.testing.runtime.engine import EngineContract


class AnswerScoresContract(EngineContract):
    """Scores of answers.

    `questions` are some that the engine takes, at least two; `options` those of its own answers;
    `answer` is one in the model's words, and `too_long` a question that does not fit.
    """

    proves = (SupportsAnswerScores,)
    questions: ClassVar[tuple[Any, ...]]
    options: ClassVar[Any]
    answer: ClassVar[str]
    too_long: ClassVar[Any]

    def scores(self, engine: Any, *questions: Any, answer: Any = None) -> Any:
        given = engine.given_answer(self.answer) if answer is None else answer
        found = engine.score_answers(list(questions), given, StopSignal())
        assert found.log_probs.shape == (len(questions), len(given.tokens))
        assert found.input_tokens > 0
        told = found.log_probs[~np.isnan(found.log_probs)]
        assert len(told)
        assert (told <= 1e-6).all()
        return found.log_probs

    def test_tokens_have_their_places_in_the_answer(self, engine: Any) -> None:
        given = engine.given_answer(self.answer)
        assert len(given.spans) == len(given.tokens)
        assert all(0 <= start <= end <= len(given.text) for start, end in given.spans)
        assert all(one[0] <= other[0] for one, other in pairwise(given.spans))
        told = "".join(given.text[start:end] for start, end in given.spans)
        assert "".join(told.split()) == "".join(self.answer.split())

    def test_scores_do_not_depend_on_other_questions(self, engine: Any) -> None:
        together = self.scores(engine, *self.questions)
        for question, row in zip(self.questions, together, strict=True):
            (alone,) = self.scores(engine, question)
            assert alone == pytest.approx(row, abs=1e-2, nan_ok=True)
        assert self.scores(engine, *self.questions) == pytest.approx(
            together, abs=1e-2, nan_ok=True
        )

    def test_scores_depend_on_the_question(self, engine: Any) -> None:
        sums = np.nansum(self.scores(engine, *self.questions), axis=1)
        assert np.ptp(sums) > 1e-3

    def test_its_own_answer_is_likelier_than_the_same_backwards(self, engine: Any) -> None:
        question = self.questions[0]
        own = engine.own_answer(question, self.options, StopSignal())
        assert own.tokens
        other = engine.given_answer(" ".join(reversed(own.text.split())))
        if other.text != own.text:
            mean = np.nanmean(self.scores(engine, question, answer=own))
            assert mean > np.nanmean(self.scores(engine, question, answer=other))

    def test_a_question_that_does_not_fit_is_refused(self, engine: Any) -> None:
        given = engine.given_answer(self.answer)
        with pytest.raises(ContextLengthExceeded):
            engine.score_answers([self.too_long], given, StopSignal())

    def test_a_caller_that_went_away_ends_it(self, engine: Any) -> None:
        stop = StopSignal()
        stop.set()
        with pytest.raises(Cancelled):
            engine.score_answers(list(self.questions), engine.given_answer(self.answer), stop)
