"""One explanation, from an item to what is told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.explaining.asking import Asking, Subject
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
    began = time.monotonic()
    wish = _with_background(subject, wish)
    prepared = subject.predictor.before([subject.item], subject.options)
    target = _target(subject, prepared, wish)
    how = _flipped if wish.method == COUNTERFACTUAL and "row" in subject.item else _attributed
    found = how(subject, prepared, target, wish, stop)
    calls = 1 + found.all_calls
    told = {
        "method": found.method,
        "target": {"index": target.index, "label": target.label, "score": target.score},
        "attribution": found.described,
        "interval": found.interval,
        "baseline": found.baseline,
        "parameters": {**found.parameters, "seed": wish.seed},
        "faithfulness": None if found.checked is None else found.checked.to_wire(),
        "sentence": found.sentence,
        "cost": {
            "model_calls": calls,
            "explaining_calls": found.calls,
            "seconds": round(time.monotonic() - began, 4),
        },
    }
    picture = heat_map(subject.item["image"], found.described) if wish.picture else b""
    usage = {**prepared.usage, "explanations": 1, "model_calls": calls}
    return Explained(told, usage, picture)


def _attributed(
    subject: Subject, prepared: Prepared, target: Target, wish: Wish, stop: StopSignal
) -> _Result:
    """Explain a score by what each part of the input did for it."""
    asking = Asking(subject, prepared, target.index, stop)

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
    found = _attribution(asking, parts, method, wish)
    explaining = asking.calls
    checked = None
    if wish.checks:
        measured = None if subject.measure is None else subject.measure(found.weights, target.index)
        checked = _checked(asking, parts, method, found, wish, measured=measured)
    described = parts.described(found)
    return _Result(
        name,
        described,
        found.baseline or parts.baseline,
        found.parameters,
        " ".join(filter(None, (sentence(target, described, checked), found.remark))),
        explaining,
        asking.calls,
        checked,
        None if found.interval is None else found.interval.tolist(),
    )


def _flipped(
    subject: Subject, prepared: Prepared, target: Target, wish: Wish, stop: StopSignal
) -> _Result:
    """Explain a decision by what would flip it."""
    check_wishes(wish, TABLE)
    predictor = subject.predictor
    asking = AskingDecisions(subject, prepared, target.index, stop)

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
        told_in_words(found.attribution, decision),
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
    asking: Asking,
    parts: Parts,
    method: Method,
    found: Attribution,
    wish: Wish,
    *,
    measured: Faithfulness | None,
) -> Faithfulness:
    """How far the weights can be trusted; `measured` is how faithful they are, where known."""
    before = asking.calls
    moved = None if wish.given else parts.noisy(np.random.default_rng(wish.seed))
    stability = None
    if moved is not None:
        other = _attribution(asking, moved, method, wish)
        stability = round(rank_agreement(found.weights, other.weights), 4)
    if measured is None:
        measured = measure(
            lambda one: asking.scores(parts, one),
            found.weights,
            RandomOrders(wish.seed, parts.guess),
        )
    else:
        asking.calls += measured.calls
    return replace(measured, stability=stability, calls=asking.calls - before)
