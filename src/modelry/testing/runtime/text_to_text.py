# ruff: noqa: D102 - the names of the tests say what they check
"""What an engine that writes texts for texts must do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from modelry.domain.errors import Cancelled, ContextLengthExceeded
from modelry.runtime_api.engine import StopSignal, SupportsTextToText
from modelry.runtime_api.text_to_text import TextOptions
from modelry.testing.runtime.engine import EngineContract

_TOGETHER = 8


class TextToTextContract(EngineContract):
    """Texts for texts.

    `texts` are some that the model answers in different lengths, `too_long` is one that does not
    fit.
    """

    proves = (SupportsTextToText,)
    texts: ClassVar[tuple[str, ...]]
    too_long: ClassVar[str] = "word " * 20_000

    def write(self, engine: Any, *texts: str, **options: Any) -> list[Any]:
        found: list[Any] = engine.write(list(texts), TextOptions(**options), StopSignal())
        assert len(found) == len(texts)
        for one in found:
            assert one.score <= 0
            assert one.input_tokens > 0
            assert one.output_tokens >= 0
        return found

    def test_one_answer_per_text(self, engine: Any) -> None:
        assert all(one.text for one in self.write(engine, *self.texts))

    @pytest.mark.parametrize("beams", [1, 2, 5])
    def test_an_answer_does_not_depend_on_its_neighbours(self, engine: Any, beams: int) -> None:
        together = self.write(engine, *self.texts, beams=beams)
        for text, found in zip(self.texts, together, strict=True):
            (alone,) = self.write(engine, text, beams=beams)
            assert (alone.text, alone.is_complete) == (found.text, found.is_complete)
            assert alone.score == pytest.approx(found.score, abs=1e-4)

    def test_more_beams_find_nothing_that_is_less_likely(self, engine: Any) -> None:
        for text in self.texts:
            (greedy,) = self.write(engine, text, beams=1, length_penalty=1.0)
            (wide,) = self.write(engine, text, beams=8, length_penalty=1.0)
            if greedy.is_complete and wide.is_complete:
                assert wide.score >= greedy.score - 1e-4

    def test_an_answer_is_cut_where_it_shall_be(self, engine: Any) -> None:
        (whole,) = self.write(engine, self.texts[0], beams=1)
        assert whole.output_tokens > 1
        (cut,) = self.write(engine, self.texts[0], beams=1, max_tokens=1)
        assert cut.output_tokens == 1
        assert not cut.is_complete
        (enough,) = self.write(engine, self.texts[0], beams=1, max_tokens=whole.output_tokens)
        assert (enough.text, enough.is_complete) == (whole.text, whole.is_complete)

    def test_a_blank_text_has_an_empty_answer(self, engine: Any) -> None:
        first, blank, empty = self.write(engine, self.texts[0], " \n", "")
        assert first.text
        assert (blank.text, empty.text) == ("", "")
        assert self.write(engine, "")[0].text == ""

    def test_a_text_that_does_not_fit_is_refused(self, engine: Any) -> None:
        assert engine.context_length >= 1
        with pytest.raises(ContextLengthExceeded, match="Text 2 of 2"):
            self.write(engine, self.texts[0], self.too_long)
        self.test_one_answer_per_text(engine)

    def test_calls_of_many_threads_are_answered_as_if_alone(self, engine: Any) -> None:
        expected = [self.write(engine, text)[0].text for text in self.texts]
        together = threading.Barrier(_TOGETHER, timeout=60)

        def call(number: int) -> None:
            together.wait()
            turned = [*range(number % len(self.texts), len(self.texts)), 0]
            beams = None if number % 2 else 1
            found = self.write(engine, *(self.texts[at] for at in turned), beams=beams)
            if beams is None:
                assert [one.text for one in found] == [expected[at] for at in turned]

        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(call, range(_TOGETHER)))

    def test_a_call_that_was_stopped_before_does_not_run(self, engine: Any) -> None:
        stop = StopSignal()
        stop.set()
        with pytest.raises(Cancelled):
            engine.write(list(self.texts), TextOptions(), stop)
        self.test_one_answer_per_text(engine)

    def test_a_call_can_be_stopped_at_any_moment(self, engine: Any) -> None:
        for delay_s in (0.0, 0.001, 0.01):
            stop = StopSignal()
            timer = threading.Timer(delay_s, stop.set)
            timer.start()
            try:
                engine.write(list(self.texts) * 8, TextOptions(beams=4), stop)
            except Cancelled:
                pass  # as good as an answer that was ready before
            finally:
                timer.join()
        self.test_one_answer_per_text(engine)
