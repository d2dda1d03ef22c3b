"""Explanations of written answers and of pairs of texts, by engines whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from tests.support import sequence_models
from tests.support.task_models import ServedVersion, written
from tests.support.wire_models import word_vectors

from modelry.domain.errors import (
    Cancelled,
    ContextLengthExceeded,
    InvalidInput,
    ModelFailed,
    NotSupported,
)
from modelry.explaining.contract import Wish
from modelry.explaining.course import Course, Progress
from modelry.explaining.language import answers, asking
from modelry.explaining.language.answers import Answered, explain_answer
from modelry.explaining.language.pairs import explain_pair
from modelry.explaining.pace import Pace
from modelry.processing.sequences import forced
from modelry.runtime_api.answer_scores import AnswerScores, GivenAnswer
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.text_to_text import TextOptions
from modelry.runtimes.seq2seq import Seq2SeqRuntime

GREEDY = TextOptions(beams=1)


@pytest.fixture
def translator(tmp_path: Path) -> Iterator[Any]:
    engine = Seq2SeqRuntime().load(sequence_models.spec_for(tmp_path))
    yield engine
    engine.close()


def about_text(text: str, answer: str | None = None, level: str | None = "words") -> Answered:
    return Answered(
        "sequence",
        [text],
        [],
        lambda changed: changed[0],
        "text",
        answer,
        GREEDY,
        level,
        None,
        False,
    )


def about_chat(*contents: str, answer: str | None = None, **more: Any) -> Answered:
    told = {"level": None, "within": None} | more
    places = [{"message": at, "role": "user"} for at in range(len(contents))]
    return Answered("chat", contents, places, list, "messages", answer, None, is_dear=True, **told)


def explained(asked: Answered, engine: Any, **wish: Any) -> dict[str, Any]:
    return explain_answer(asked, engine, Wish(**wish), StopSignal()).told


def test_given_answers_are_as_likely_as_the_search_says(translator: Any) -> None:
    text = "the cat eats the mouse"
    (found,) = translator.write([text], GREEDY, StopSignal())
    answer = translator.own_answer(text, GREEDY, StopSignal())
    assert answer == translator.given_answer(found.text)
    assert [answer.text[a:b].strip() for a, b in answer.spans] == found.text.split()
    scored = translator.score_answers([text, "cat", ""], answer, StopSignal())
    # the search's mean has the end token too, which this model finds as likely as the first word
    assert scored.log_probs[0].sum() == pytest.approx(
        6 * found.score - scored.log_probs[0, 0], abs=1e-5
    )
    assert (scored.log_probs[1:].sum(axis=1) < scored.log_probs[0].sum() - 5).all()


def test_unlikely_tokens_are_scored_as_others_are(
    translator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = translator.given_answer("maus maus")
    asked = ["the cat", "mouse the"]
    few = translator.score_answers(asked, answer, StopSignal()).log_probs
    monkeypatch.setattr(forced, "FEW_CANDIDATES", 1)
    assert translator.score_answers(asked, answer, StopSignal()).log_probs == pytest.approx(few)
    assert (few < -1).any()


def test_each_word_is_told_for_each_token_that_it_was_for(translator: Any) -> None:
    told = explained(about_text("the cat sleeps"), translator)
    matrix = np.array(told["attribution"]["matrix"])
    words = told["attribution"]["words"]
    assert [(one["text"], one["start"]) for one in words] == [("the", 0), ("cat", 4), ("sleeps", 8)]
    # a word's place decides which token it is for: without it, its token and those behind it move
    assert (np.diag(matrix) > 1).all()
    assert matrix[np.tril_indices(3, -1)] == pytest.approx(0, abs=1e-5)
    assert [one["weight"] for one in words] == pytest.approx(matrix.sum(axis=1), abs=1e-5)
    output = told["attribution"]["output"]
    assert output["text"] == "die katze schlaeft"
    assert [output["text"][one["start"] : one["end"]].strip() for one in output["tokens"]] == [
        "die", "katze", "schlaeft",
    ]  # fmt: skip
    assert told["faithfulness"]["stability"] is None


def test_words_of_the_answer_can_be_the_target(translator: Any) -> None:
    told = explained(about_text("the cat sleeps"), translator, target="schlaeft", checks=False)
    weights = {one["text"]: one["weight"] for one in told["attribution"]["words"]}
    assert told["target"] == {
        "index": 10, "label": "schlaeft", "score": pytest.approx(0, abs=0.1),
    }  # fmt: skip
    assert weights["sleeps"] > 1
    assert told["sentence"].startswith("For 'schlaeft'")


def test_shapley_values_share_the_answers_log_probability(translator: Any) -> None:
    told = explained(about_text("the cat sleeps"), translator, method="shapley")
    answer = translator.given_answer("die katze schlaeft")
    scores = translator.score_answers(["the cat sleeps", ""], answer, StopSignal())
    total = scores.log_probs[0].sum() - scores.log_probs[1].sum()
    assert sum(one["weight"] for one in told["attribution"]["words"]) == pytest.approx(total)
    assert told["parameters"]["is_exact"]
    assert told["attribution"]["matrix"] is None


@pytest.mark.parametrize(
    ("asked", "wish", "error", "words"),
    [
        (about_text("  "), {}, InvalidInput, "text has no words"),
        (about_text("the cat", ""), {}, InvalidInput, "answer is empty"),
        (about_text("the " * 30), {}, ContextLengthExceeded, "31 tokens"),
        (about_text("cat", "die " * 30), {}, ContextLengthExceeded, "writes at most 15"),
        (about_text("the cat"), {"target": "hund"}, InvalidInput, "'hund', which is not in"),
        (about_text("the cat"), {"method": "rise"}, InvalidInput, "leave-one-out, shapley"),
        (about_text("the cat"), {"background": ((1,),)}, InvalidInput, "rows of tables"),
        (about_text("the cat"), {"picture": True}, InvalidInput, "images alone"),
        (about_text("the cat sleeps"), {"calls": 2}, InvalidInput, "needs at least 4"),
    ],
)
def test_what_cannot_be_explained_of_a_written_text_is_told(
    translator: Any, asked: Answered, wish: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        explained(asked, translator, **wish)


def test_one_word_is_explained_without_a_check_of_its_order(translator: Any) -> None:
    told = explained(about_text("cat"), translator)
    assert told["attribution"]["words"][0]["weight"] > 1
    assert told["faithfulness"] is None


def test_a_caller_that_went_away_ends_it(translator: Any) -> None:
    stop = StopSignal()
    stop.set()
    answer = translator.given_answer("die katze")
    with pytest.raises(Cancelled):
        translator.score_answers(["the cat"], answer, stop)


class Recalling:
    """Finds its answer, letter by letter, as likely as its question has words of the answer."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.asked: list[list[str]] = []
        self._breaks = breaks

    def own_answer(self, question: list[str], options: object, stop: StopSignal) -> GivenAnswer:
        del options, stop
        return self.given_answer("dentist" if "dentist" in " ".join(question) else "")

    def given_answer(self, text: str) -> GivenAnswer:
        tokens = tuple(map(ord, text))
        return GivenAnswer(text, tokens, tuple((at, at + 1) for at in range(len(text))))

    def score_answers(
        self, questions: Sequence[list[str]], answer: GivenAnswer, stop: StopSignal
    ) -> AnswerScores:
        del stop
        self.asked += questions
        rows = [
            [self._log_prob(" ".join(one), answer.text)] * len(answer.text) for one in questions
        ]
        found = np.array(rows)
        found[:, 0] = math.nan  # the engine cannot tell of the first one
        return AnswerScores(found, 3 * len(questions), len(questions))

    def _log_prob(self, question: str, answer: str) -> float:
        if self._breaks:
            return -math.inf
        return -0.5 - 2 * (answer not in question) - 0.1 * ("Anna" not in question)


class Chance(Recalling):
    """Finds its answer as likely as chance has it, the same for the same question."""

    def _log_prob(self, question: str, answer: str) -> float:
        return -1 - crc32(question.encode()) / 2**32


FACTS = (
    "Tom drives an old green van. The river is deep. Anna works as a dentist in Leeds. "
    "Peter keeps three goats. The bridge is of stone. Lucy plays the violin at home."
)


def test_the_fact_is_found_and_looked_into() -> None:
    engine = Recalling()
    found = explain_answer(about_chat(FACTS, "What is Anna?"), engine, Wish(), StopSignal())
    told, attribution = found.told, found.told["attribution"]
    best = max(attribution["segments"], key=lambda one: one["weight"])
    assert (best["message"], best["role"]) == (0, "user")
    assert best["text"] == "Anna works as a dentist in Leeds."
    assert FACTS[best["start"] : best["end"]] == best["text"]
    assert best["weight"] == pytest.approx(6 * 2)
    words = {one["text"]: one["weight"] for one in best["words"]}
    assert {word for word, weight in words.items() if weight > 1} == {"dentist"}
    assert told["faithfulness"]["is_better_than_random"]
    assert told["faithfulness"]["prediction"][0] > 0.9
    assert told["parameters"]["tokens_without_score"] == 1
    assert told["target"]["score"] == pytest.approx(-0.5 * 6)
    calls = 1 + len(engine.asked)  # with the one by which the model wrote its answer
    assert found.usage["model_calls"] == told["cost"]["model_calls"] == calls
    assert told["cost"]["explaining_calls"] < calls
    assert len({tuple(one) for one in engine.asked}) == len(engine.asked)
    assert found.usage["input_tokens"] == 3 * calls
    assert found.usage["output_tokens"] == 7 * calls
    assert "Anna works as a dentist" in told["sentence"]


def test_weights_that_nothing_stands_behind_are_no_better_than_random() -> None:
    told = explained(about_chat(FACTS, answer="dentist"), Chance())
    assert not told["faithfulness"]["is_better_than_random"]
    assert "do not rely on this explanation" in told["sentence"]


def test_only_the_messages_that_are_named_are_taken_apart() -> None:
    engine = Recalling()
    told = explained(about_chat(FACTS, "What is Anna?", within=[0]), engine, checks=False)
    assert {one["message"] for one in told["attribution"]["segments"]} == {0}
    assert all(one[1] == "What is Anna?" for one in engine.asked)


def test_calls_bound_how_far_segments_are_looked_into() -> None:
    told = explained(about_chat(FACTS), Recalling(), calls=8, checks=False)
    assert not any("words" in one for one in told["attribution"]["segments"])
    assert told["cost"]["explaining_calls"] <= 8


def test_shapley_values_of_a_long_conversation_take_few_calls() -> None:
    many = " ".join(f"Fact {number} is quite true." for number in range(40)) + " dentist here."
    told = explained(about_chat(many), Recalling(), method="shapley", checks=False)
    best = max(told["attribution"]["segments"], key=lambda one: one["weight"])
    assert best["text"] == "dentist here."
    assert told["parameters"]["calls"] <= 130


def test_long_questions_are_made_a_few_at_a_time_and_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together: list[int] = []

    class Counting(Recalling):
        def score_answers(
            self, questions: Sequence[list[str]], answer: GivenAnswer, stop: StopSignal
        ) -> AnswerScores:
            together.append(len(questions))
            return super().score_answers(questions, answer, stop)

    few, all_at_once = Counting(), Recalling()
    whole = explained(about_chat(FACTS, "What is Anna?"), all_at_once)
    monkeypatch.setattr(asking, "_CHARACTERS_AT_ONCE", 1000)
    told = explained(about_chat(FACTS, "What is Anna?"), few)
    assert told["attribution"] == whole["attribution"]
    assert told["faithfulness"] == whole["faithfulness"]
    assert max(together) == 5
    assert len({tuple(one) for one in few.asked}) == len(few.asked) == len(all_at_once.asked)


def test_words_that_no_token_stands_for_are_no_target() -> None:
    class Silent(Recalling):
        def given_answer(self, text: str) -> GivenAnswer:
            given = super().given_answer(text)
            return GivenAnswer(text, given.tokens[:3], given.spans[:3])

    with pytest.raises(InvalidInput, match="of which the model's tokens say nothing"):
        explained(about_chat(FACTS, answer="dentist"), Silent(), target="ist")


def test_answers_that_are_nothing_or_impossible_are_told() -> None:
    with pytest.raises(InvalidInput, match="give an 'answer'"):
        explained(about_chat("Who is it?"), Recalling())
    with pytest.raises(ModelFailed, match="no finite log-probability"):
        explained(about_chat("Who is it?", answer="dentist"), Recalling(breaks=True))
    with pytest.raises(ContextLengthExceeded, match="at most 512"):
        explained(about_chat("Who is it?", answer="a" * 600), Recalling())


@pytest.fixture
def embed(tmp_path: Path) -> Any:
    model, tokenizer = word_vectors()
    files = written(tmp_path, model=model, tokenizer=tokenizer)
    version = ServedVersion("text-embedding", files)

    def embed(texts: Sequence[str]) -> tuple[np.ndarray, int]:
        return version.predict([{"text": text} for text in texts]).arrays["embedding"], len(texts)

    return embed


def similar(embed: Any, text: str, other: str, **wish: Any) -> dict[str, Any]:
    item = {"text": text, "compared_with": other}
    return explain_pair(item, embed, Wish(**wish), StopSignal(), Pace(8)).told


def test_what_two_texts_share_is_found_on_both_sides(embed: Any) -> None:
    told = similar(embed, "the cat drives", "a dog")
    sides = [told["attribution"]["words"], told["attribution"]["compared_with"]]
    best = [max(side, key=lambda one: one["weight"])["text"] for side in sides]
    assert best == ["cat", "dog"]
    assert next(one for one in sides[0] if one["text"] == "drives")["weight"] < 0
    vectors = embed(["the cat drives", "a dog", "the cat"])[0]
    assert told["target"]["score"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    without = next(one for one in sides[0] if one["text"] == "drives")["weight"]
    assert without == pytest.approx(float((vectors[0] - vectors[2]) @ vectors[1]), abs=1e-6)
    assert told["faithfulness"]["deletion"] < told["faithfulness"]["random_deletion"][0]


def test_shapley_values_of_a_side_add_up_to_its_likeness(embed: Any) -> None:
    told = similar(embed, "the cat", "a dog runs", method="shapley")
    vectors = embed(["the cat", "a dog runs", "."])[0]
    whole, blank, other_blank = (
        vectors[0] @ vectors[1],
        vectors[2] @ vectors[1],
        (vectors[0] @ vectors[2]),
    )
    sums = [
        sum(one["weight"] for one in told["attribution"][side])
        for side in ("words", "compared_with")
    ]
    assert sums == pytest.approx([whole - blank, whole - other_blank], abs=1e-6)


def test_a_text_and_itself_are_as_alike_as_can_be(embed: Any) -> None:
    told = similar(embed, "the cat", "the cat", checks=False)
    assert told["target"]["score"] == pytest.approx(1)
    assert told["cost"]["model_calls"] == 3  # both, and either word alone
    words = [one["weight"] for one in told["attribution"]["words"]]
    assert words == [one["weight"] for one in told["attribution"]["compared_with"]]


@pytest.mark.parametrize(
    ("item", "wish", "error", "words"),
    [
        ({"text": "a cat"}, {}, NotSupported, "one as 'compared_with'"),
        ({"text": "", "compared_with": "a"}, {}, InvalidInput, "text has no words"),
        ({"text": "a", "compared_with": " "}, {}, InvalidInput, "compared_with has no words"),
        ({"text": "a " * 300, "compared_with": "a"}, {}, InvalidInput, "300 words; at most 256"),
        ({"text": "a", "compared_with": "a"}, {"target": "cat"}, InvalidInput, "one similarity"),
        ({"tokens": [1], "compared_with": "a"}, {}, NotSupported, "as 'text'"),
    ],
)
def test_what_cannot_be_compared_is_told(
    embed: Any, item: dict[str, Any], wish: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        explain_pair(item, embed, Wish(**wish), StopSignal(), Pace(8))


def test_a_matrix_that_would_be_too_large_is_left_out_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = about_chat(FACTS, "What is Anna?")
    whole = explained(asked, Recalling(), checks=False)
    matrix = np.array(whole["attribution"]["matrix"])
    assert "matrix_left_out" not in whole["parameters"]
    monkeypatch.setattr(answers, "MOST_MATRIX", matrix.size)
    assert explained(asked, Recalling(), checks=False)["attribution"]["matrix"] is not None
    monkeypatch.setattr(answers, "MOST_MATRIX", matrix.size - 1)
    told = explained(asked, Recalling(), checks=False)
    assert told["attribution"].pop("matrix") is None
    rows, columns = matrix.shape
    words = f"{rows} parts x {columns} tokens; at most {matrix.size - 1} numbers"
    assert told["parameters"].pop("matrix_left_out") == words
    whole["attribution"].pop("matrix")
    assert told["attribution"] == whole["attribution"]


def test_segments_are_told_when_there_is_no_time_for_their_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Recalling()
    far: list[Progress] = []
    clock = partial(Course, clock=lambda: 0.1 * len(engine.asked))
    monkeypatch.setattr(answers, "Course", clock)
    asked = about_chat(FACTS, "What is Anna?")
    wish = Wish(seconds=0.65, checks=False)
    told = explain_answer(asked, engine, wish, StopSignal(), far.append).told
    best = max(told["attribution"]["segments"], key=lambda one: one["weight"])
    assert best["text"] == "Anna works as a dentist in Leeds."
    assert "words" not in best
    assert told["cost"]["left_out"] == ["words"]
    assert "no time left for looking into all segments" in told["sentence"]
    assert far[-1].calls <= (far[-1].most_calls or 0)
    wish = replace(wish, seconds=0.0)
    with pytest.raises(InvalidInput, match=r"'leave-one-out' cannot end before \d+ calls"):
        explain_answer(about_chat(FACTS * 4), Recalling(), wish, StopSignal())
