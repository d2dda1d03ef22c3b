"""One explanation, from an item to what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.explaining.asking import Asking, Subject
from modelry.explaining.checking import Check, checked
from modelry.explaining.contract import (
    Attribution,
    Explained,
    Method,
    Parts,
    Target,
    Wish,
    index_meant,
)
from modelry.explaining.counterfactuals import COUNTERFACTUAL, Search, told_in_words
from modelry.explaining.course import Course, TimeIsUp
from modelry.explaining.decisions import AskingDecisions, decision_of
from modelry.explaining.faithfulness import (
    Faithfulness,
    RandomOrders,
    measure,
    rank_agreement,
)
from modelry.explaining.methods import TABLE, check_wishes, method_for, parts_of
from modelry.explaining.objects import explain_objects
from modelry.explaining.pictures import heat_map
from modelry.explaining.sentences import sentence
from modelry.explaining.tables import fitting_background
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared


@dataclass(frozen=True, slots=True)
class _Result:
    """What a method found: `described` in the input's own terms, after `calls` of the model."""

    method: str
    described: dict[str, Any]
    baseline: str
    parameters: Mapping[str, Any]
    sentence: str
    calls: int
    all_calls: int
    checked: Faithfulness | None = None
    interval: list[float] | None = None


def explain(subject: Subject, wish: Wish, stop: StopSignal) -> Explained:
    """Explain the answer to one item.

    Args:
        subject: the item and the version.
        wish: how to explain it.
        stop: ends it early.

    Raises:
        InvalidInput: the item or the wish is wrong.
        NotSupported: such inputs, or such results, cannot be explained.
        ModelFailed: the engine broke, or gave no finite numbers.
        Cancelled: `stop` was raised.
    """
    if subject.predictor.finds_objects:
        return explain_objects(subject, wish, stop)
    course = Course(stop, wish.seconds, subject.tell)
    wish = replace(_with_background(subject, wish), course=course)
    prepared = subject.prepared
    if prepared is None:
        prepared = subject.predictor.before([subject.item], subject.options)
    target = _target(subject, prepared, wish)
    how = _flipped if wish.method == COUNTERFACTUAL and "row" in subject.item else _attributed
    found = how(subject, prepared, target, wish)
    calls = 1 + found.all_calls
    told = {
        "method": found.method,
        "target": {"index": target.index, "label": target.label, "score": target.score},
        "attribution": found.described,
        "interval": found.interval,
        "baseline": found.baseline,
        "parameters": {**found.parameters, "seed": wish.seed},
        "faithfulness": None if found.checked is None else found.checked.to_wire(),
        "sentence": " ".join(filter(None, (found.sentence, course.remark()))),
        "cost": course.cost(calls, found.calls),
    }
    picture = heat_map(subject.item["image"], found.described) if wish.picture else b""
    usage = {**prepared.usage, "explanations": 1, "model_calls": calls}
    return Explained(told, usage, picture)


def _attributed(subject: Subject, prepared: Prepared, target: Target, wish: Wish) -> _Result:
    """Explain a score by what each part of the input did for it."""
    course = wish.course
    asking = Asking(subject, prepared, target.index, course)

    def prepare(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Array]:
        return subject.predictor.before(items, subject.options).inputs

    kind, parts = parts_of(
        subject.item,
        prepared,
        prepare,
        subject.columns,
        wish,
        places=subject.predictor.column_places,
    )
    more = subject.more(kind, prepared, target.index) if subject.more is not None else {}
    name, method = method_for(kind, wish, more)
    if wish.checks and subject.measure is None:
        orders = RandomOrders(wish.seed)
        course.keep(orders.calls(parts.count), orders.coarser.calls(parts.count))
    try:
        found = _attribution(asking, parts, method, wish)
    except TimeIsUp:
        raise course.too_few_seconds(name) from None
    explaining = asking.calls
    trust = _checked(asking, parts, method, found, wish) if wish.checks else None
    described = parts.described(found)
    return _Result(
        name,
        described,
        found.baseline or parts.baseline,
        found.parameters,
        " ".join(filter(None, (sentence(target, described, trust), found.remark))),
        explaining,
        asking.calls,
        trust,
        None if found.interval is None else found.interval.tolist(),
    )


def _flipped(subject: Subject, prepared: Prepared, target: Target, wish: Wish) -> _Result:
    """Explain a decision by what would flip it."""
    check_wishes(wish, TABLE)
    predictor = subject.predictor
    asking = AskingDecisions(subject, prepared, target.index, wish.course)

    def ask(rows: Sequence[Mapping[str, Any]]) -> Array:
        items = [{"row": row} for row in rows]
        return asking.of_inputs(predictor.before(items, subject.options).inputs)

    row = subject.item["row"]
    wanted = None if wish.target is None else target.index
    decision = decision_of(ask([row])[0], wanted, wish.goal, predictor.labels)
    found = Search(row, subject.columns, ask, decision, wish).found()
    return _Result(
        COUNTERFACTUAL,
        found.attribution,
        found.baseline,
        found.parameters,
        told_in_words(found.attribution, decision, is_cut=wish.course.is_cut),
        asking.calls,
        asking.calls,
    )


def _with_background(subject: Subject, wish: Wish) -> Wish:
    """The wish with the rows that were kept with the version, where it needs some and has none."""
    if wish.background or "row" not in subject.item:
        return wish
    return replace(wish, background=fitting_background(subject.background, subject.columns))


def _target(subject: Subject, prepared: Prepared, wish: Wish) -> Target:
    predictor = subject.predictor
    row = predictor.scores(prepared, subject.run(prepared.inputs, 1))[0]
    if not np.isfinite(row).all():
        raise ModelFailed("The model gave a score that is not a finite number.")
    labels = predictor.labels
    index = _index(wish.target, row, labels)
    label = labels[index] if labels is not None and index < len(labels) else None
    return Target(index, label or (str(index) if len(row) > 1 else None), float(row[index]))


def _index(wanted: str | int | None, row: Array, labels: Sequence[str] | None) -> int:
    """Which number of a row is meant.

    Raises:
        InvalidInput: there is no such one.
    """
    if wanted is None:
        return int(np.argmax(row))
    if isinstance(wanted, str) and labels is not None and wanted in labels:
        return list(labels).index(wanted)
    index = index_meant(wanted)
    if index is not None and 0 <= index < len(row):
        return index
    known = f"an index from 0 to {len(row) - 1}"
    if labels is not None:
        shown = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
        known = f"one of the labels ({shown}) or {known}"
    raise InvalidInput(f"target is {str(wanted)[:80]!r}; expected {known}.", param="target")


def _attribution(asking: Asking, parts: Parts, method: Method, wish: Wish) -> Attribution:
    return method(lambda presences: asking.scores(parts, presences), parts, wish)


def _checked(
    asking: Asking, parts: Parts, method: Method, found: Attribution, wish: Wish
) -> Faithfulness | None:
    """How far the weights can be trusted; None where there was no time for it."""
    before, course, measure_there = asking.calls, wish.course, asking.subject.measure
    moved = None if wish.given else parts.noisy(np.random.default_rng(wish.seed))

    orders = RandomOrders(wish.seed, parts.guess)

    def here(orders: RandomOrders) -> list[Faithfulness]:
        return [measure(partial(asking.scores, parts), found.weights, orders)]

    def measured() -> list[Faithfulness] | None:
        if measure_there is None:
            return here(orders)
        told = measure_there(
            found.weights, asking.index, course.left_s if course.is_timed else None
        )
        if told is None:
            return None
        asking.calls += told.calls
        return [told]

    def repeated() -> list[float]:
        assert moved is not None
        other = _attribution(asking, moved, method, wish)
        return [rank_agreement(found.weights, other.weights)]

    check = Check(
        measured,
        0 if measure_there is not None else orders.calls(parts.count),
        None if measure_there is not None else lambda: here(orders.coarser),
        orders.coarser.calls(parts.count),
        None if moved is None else repeated,
        course.explained,
    )
    told = checked(check, course)
    return None if told is None else replace(told[0], calls=asking.calls - before)
