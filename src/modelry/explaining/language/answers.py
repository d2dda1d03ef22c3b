"""Why a model answers a conversation, or writes a text for a text, as it does.

What is explained is the log-probability of an answer, the model's own or one that is given: how
much of it goes when parts of the question are left out, token by token of the answer (as feature
ablation of Miglani et al., "Using Captum to Explain Generative Language Models", 2023; Cohen-Wang
et al., "ContextCite", NeurIPS 2024, draw subsets instead).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelry.domain.errors import ContextLengthExceeded, InvalidInput
from modelry.explaining.checking import Check, checked
from modelry.explaining.contract import Attribution, Explained, Target, Wish
from modelry.explaining.course import WORDS, Course, Tell, TimeIsUp
from modelry.explaining.faithfulness import Faithfulness, RandomOrders, measure
from modelry.explaining.language.asking import AnswerAsking, AsQuestion
from modelry.explaining.language.cutting import Piece, fitting, words_of
from modelry.explaining.methods import CONVERSATION, check_wishes, method_for
from modelry.explaining.sentences import sentence
from modelry.explaining.shapley import EXACT_PARTS, usual_calls
from modelry.runtime_api.answer_scores import GivenAnswer, SupportsAnswerScores
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array

MOST_ANSWER_TOKENS = 512
USUAL_CALLS = 128
"""Of a leave-one-out that goes on to words, and of Shapley values of a conversation."""
USUAL_CHEAP_CALLS = 512
"""Of Shapley values where many calls run as one batch."""
MOST_MATRIX = 32_768
"""Numbers of a matrix: parts times tokens; a larger one is left out, and that is told."""
REFINED = 3
"""Segments that are looked into word by word, at most."""
_WORTH = 0.1
"""Of the largest weight: segments that count less are not looked into."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What is explained.

    Args:
        kind: `chat` or `sequence`, which says how weights are told.
        texts: what the question is made of; of a conversation the messages' contents.
        places: of conversations, what is told of each text: its message, the part of that, a role.
        as_question: makes a question of texts.
        param: the field that holds the texts.
        answer: whose probability is explained; None takes the model's own.
        options: of its own answer, as the engine takes them.
        level: how fine the texts are cut; None takes what suits them.
        within: the texts that are cut; None takes all.
        is_dear: whether a call takes so long that the check of an explanation asks less.
    """

    kind: str
    texts: Sequence[str]
    places: Sequence[Mapping[str, Any]]
    as_question: AsQuestion
    param: str
    answer: str | None
    options: Any
    level: str | None
    within: Sequence[int] | None
    is_dear: bool


def explain_answer(
    asked: Answered,
    engine: SupportsAnswerScores,
    wish: Wish,
    stop: StopSignal,
    tell: Tell | None = None,
) -> Explained:
    """Explain an answer by what its question loses.

    Args:
        asked: the question.
        engine: tells how likely it finds the answer.
        wish: how to explain it.
        stop: ends it early.
        tell: is told how far it is.

    Raises:
        InvalidInput: what is asked, or the wish, is wrong.
        ContextLengthExceeded: question and answer do not fit.
        Cancelled: `stop` was raised.
        ModelFailed: the engine broke.
    """
    course = Course(stop, wish.seconds, tell)
    wish = replace(wish, course=course)
    check_wishes(wish, CONVERSATION)
    name, method = method_for(CONVERSATION, wish)
    level, pieces = fitting(asked.texts, asked.level, asked.within, asked.param)
    answer = _answer(asked, engine, stop)
    columns = _columns(answer, wish.target)
    asking = AnswerAsking(engine, asked.as_question, asked.texts, answer, course)
    (whole,) = asking.log_probs(pieces, np.ones((1, len(pieces))))
    # the call by which the model wrote the answer itself read the question, too
    own_calls = int(asked.answer is None)
    own_tokens = own_calls * asking.input_tokens

    def scores(presences: Array) -> Array:
        summed: Array = asking.log_probs(pieces, presences)[:, columns].sum(axis=1)
        return summed

    parts = PartCount(len(pieces))
    most = USUAL_CALLS if asked.is_dear else USUAL_CHEAP_CALLS
    if wish.checks and len(pieces) > 1:
        course.keep(_orders(wish, asked).calls(len(pieces)))
    try:
        found = method(scores, parts, bounded(wish, name, len(pieces), most))
    except TimeIsUp:
        raise course.too_few_seconds(name) from None
    is_too_large = len(pieces) * len(answer.tokens) > MOST_MATRIX
    matrix = None
    if name == "leave-one-out" and not is_too_large:
        matrix = _matrix(asking, pieces, answer)
    refined: dict[int, list[tuple[Piece, float]]] = {}
    if level != "words" and name == "leave-one-out":
        left = (USUAL_CALLS if wish.calls is None else wish.calls) - len(pieces) - 1
        refined = _refined(asking, pieces, columns, np.abs(found.weights), left)
    explaining = asking.calls
    trust = None
    if wish.checks and len(pieces) > 1:
        trust = _checked(scores, found.weights, wish, asked)
    if trust is not None:
        trust = replace(trust, calls=asking.calls - explaining)
    calls = own_calls + asking.calls
    target = _target(answer, columns, whole)
    described = _described(asked, pieces, found, refined, level)
    parameters = {**found.parameters, "level": level, "seed": wish.seed}
    if name == "leave-one-out" and is_too_large:
        parameters["matrix_left_out"] = (
            f"{len(pieces)} parts x {len(answer.tokens)} tokens; at most {MOST_MATRIX} numbers"
        )
    if asking.left_out:
        parameters["tokens_without_score"] = asking.left_out
    told = {
        "method": name,
        "target": {"index": target.index, "label": target.label, "score": target.score},
        "attribution": {
            **described,
            "output": _output(answer, whole),
            "matrix": None if matrix is None else matrix.round(6).tolist(),
        },
        "interval": None if found.interval is None else found.interval.tolist(),
        "baseline": "the question without these parts",
        "parameters": parameters,
        "faithfulness": None if trust is None else trust.to_wire(),
        "sentence": f"{sentence(target, described, trust)} {course.remark()}".rstrip(),
        "cost": course.cost(calls, explaining),
    }
    usage = {
        "input_tokens": asking.input_tokens + own_tokens,
        "output_tokens": calls * len(answer.tokens),
        "explanations": 1,
        "model_calls": calls,
    }
    if asking.cached_tokens:
        usage["cached_tokens"] = asking.cached_tokens
    return Explained(told, usage)


@dataclass(frozen=True, slots=True)
class PartCount:
    """What methods ask of parts that they cannot see."""

    count: int


def _answer(asked: Answered, engine: SupportsAnswerScores, stop: StopSignal) -> GivenAnswer:
    if asked.answer is None:
        answer = engine.own_answer(asked.as_question(asked.texts), asked.options, stop)
        if not answer.tokens:
            raise InvalidInput(
                "The model answers nothing to this; give an 'answer' to explain.", param="answer"
            )
    else:
        answer = engine.given_answer(asked.answer)
        if not answer.tokens:
            raise InvalidInput("answer is empty; there is nothing to explain.", param="answer")
    if len(answer.tokens) > MOST_ANSWER_TOKENS:
        raise ContextLengthExceeded(
            f"The answer has {len(answer.tokens)} tokens; at most {MOST_ANSWER_TOKENS} can be "
            "explained. Give the beginning of it as 'answer'.",
            param="answer",
        )
    return answer


def _columns(answer: GivenAnswer, wanted: str | int | None) -> list[int]:
    """The tokens of the answer that are explained: those that a target in its words touches."""
    if wanted is None:
        return list(range(len(answer.tokens)))
    begin = answer.text.find(str(wanted)) if str(wanted) else -1
    if begin < 0:
        raise InvalidInput(
            f"target is {str(wanted)[:80]!r}, which is not in the answer "
            f"{answer.text[:200]!r}; name words of it.",
            param="target",
        )
    end = begin + len(str(wanted))
    touched = [at for at, (start, stop) in enumerate(answer.spans) if start < end and stop > begin]
    if not touched:
        raise InvalidInput(
            f"target is {str(wanted)[:80]!r}, of which the model's tokens say nothing; name other "
            "words of the answer.",
            param="target",
        )
    return touched


def _target(answer: GivenAnswer, columns: Sequence[int], whole: Array) -> Target:
    start, end = answer.spans[columns[0]][0], answer.spans[columns[-1]][1]
    told = answer.text[start:end]
    start += len(told) - len(told.lstrip())
    return Target(start, told.strip(), float(whole[list(columns)].sum()))


def bounded(wish: Wish, name: str, parts: int, most: int) -> Wish:
    """A wish that leaves the calls open, with what Shapley values take by themselves here."""
    if name != "shapley" or wish.calls is not None:
        return wish
    least = 2 * parts + 2 if parts > EXACT_PARTS else min(2**parts, 2 * parts + 2)
    return replace(wish, calls=max(least, min(usual_calls(parts), most)))


def _matrix(asking: AnswerAsking, pieces: Sequence[Piece], answer: GivenAnswer) -> Array:
    """(pieces, tokens): what each token of the answer loses without each piece; all known."""
    count = len(pieces)
    presences = np.ones((count + 1, count))
    np.fill_diagonal(presences, 0)
    rows = asking.log_probs(pieces, presences)
    assert rows.shape[1] == len(answer.tokens)
    lost: Array = rows[-1] - rows[:-1]
    return lost


def _refined(
    asking: AnswerAsking,
    pieces: Sequence[Piece],
    columns: Sequence[int],
    sizes: Array,
    calls: int,
) -> dict[int, list[tuple[Piece, float]]]:
    """The words of the segments of the largest `sizes`, left out one by one, while calls last."""
    refined: dict[int, list[tuple[Piece, float]]] = {}
    for at in np.argsort(-sizes, kind="stable")[:REFINED].tolist():
        words = words_of(asking.texts, pieces[at])
        if sizes[at] < _WORTH * sizes.max() or not 2 <= len(words) <= calls:
            continue
        calls -= len(words)
        try:
            lost = _losses(asking, words, columns)
        except TimeIsUp:
            asking.course.left_out.append(WORDS)
            break
        refined[at] = list(zip(words, lost.tolist(), strict=True))
    return refined


def _losses(asking: AnswerAsking, words: Sequence[Piece], columns: Sequence[int]) -> Array:
    presences = np.ones((len(words) + 1, len(words)))
    np.fill_diagonal(presences, 0)
    rows = asking.log_probs(words, presences)[:, list(columns)].sum(axis=1)
    lost: Array = rows[-1] - rows[:-1]
    return lost


def _orders(wish: Wish, asked: Answered) -> RandomOrders:
    orders = RandomOrders(wish.seed)
    return replace(orders, steps=4, pairs=4) if asked.is_dear else orders


def _checked(scores: Any, weights: Array, wish: Wish, asked: Answered) -> Faithfulness | None:
    orders = _orders(wish, asked)
    check = Check(lambda: [measure(scores, weights, orders)], orders.calls(len(weights)))
    found = checked(check, wish.course)
    return None if found is None else found[0]


def _described(
    asked: Answered,
    pieces: Sequence[Piece],
    found: Attribution,
    refined: Mapping[int, list[tuple[Piece, float]]],
    level: str,
) -> dict[str, Any]:
    weights = found.weights.tolist()
    if asked.kind == "sequence":
        told = [
            told_piece(asked.texts, piece, weight)
            for piece, weight in zip(pieces, weights, strict=True)
        ]
        return {"kind": "sequence", "level": level, "words": told}
    segments = []
    for at, (piece, weight) in enumerate(zip(pieces, weights, strict=True)):
        segment = {**asked.places[piece.text], **told_piece(asked.texts, piece, weight)}
        if at in refined:
            segment["words"] = [told_piece(asked.texts, *one) for one in refined[at]]
        segments.append(segment)
    return {"kind": "chat", "level": level, "segments": segments}


def told_piece(texts: Sequence[str], piece: Piece, weight: float) -> dict[str, Any]:
    """A piece with its weight, as JSON types."""
    text = texts[piece.text][piece.start : piece.end]
    return {"text": text, "start": piece.start, "end": piece.end, "weight": float(weight)}


def _output(answer: GivenAnswer, whole: Array) -> dict[str, Any]:
    return {
        "text": answer.text,
        "tokens": [
            {"text": answer.text[start:end], "start": start, "end": end, "score": score}
            for (start, end), score in zip(answer.spans, whole.round(6).tolist(), strict=True)
        ],
    }
