"""One explanation, from an item to what is told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.explaining.asking import Asking, Subject
from modelry.explaining.contract import Attribution, Explained, Method, Parts, Target, Wish
from modelry.explaining.faithfulness import Faithfulness, measure, rank_agreement
from modelry.explaining.methods import method_for, parts_of
from modelry.explaining.objects import explain_objects
from modelry.explaining.pictures import heat_map
from modelry.explaining.sentences import sentence
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared


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
    predictor = subject.predictor
    prepared = predictor.before([subject.item], subject.options)
    target = _target(subject, prepared, wish)
    asking = Asking(subject, prepared, target.index, stop)

    def prepare(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Array]:
        return predictor.before(items, subject.options).inputs

    kind, parts = parts_of(subject.item, prepared, prepare, subject.columns, wish)
    more = subject.more(kind, prepared, target.index) if subject.more is not None else {}
    name, method = method_for(kind, wish, more)
    found = _attribution(asking, parts, method, wish)
    explaining = asking.calls
    checked = None
    if wish.checks:
        measured = None if subject.measure is None else subject.measure(found.weights, target.index)
        checked = _checked(asking, parts, method, found, wish, measured=measured)
    described = parts.described(found)
    calls = 1 + asking.calls
    told = {
        "method": name,
        "target": {"index": target.index, "label": target.label, "score": target.score},
        "attribution": described,
        "interval": None if found.interval is None else found.interval.tolist(),
        "baseline": found.baseline or parts.baseline,
        "parameters": {**found.parameters, "seed": wish.seed},
        "faithfulness": None if checked is None else checked.to_wire(),
        "sentence": " ".join(filter(None, (sentence(target, described, checked), found.remark))),
        "cost": {
            "model_calls": calls,
            "explaining_calls": explaining,
            "seconds": round(time.monotonic() - began, 4),
        },
    }
    picture = heat_map(subject.item["image"], described) if wish.picture else b""
    usage = {**prepared.usage, "explanations": 1, "model_calls": calls}
    return Explained(told, usage, picture)


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
    if isinstance(wanted, str) and wanted.isascii() and wanted.isdigit():
        wanted = int(wanted)
    if isinstance(wanted, int) and 0 <= wanted < len(row):
        return wanted
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
        measured = measure(lambda one: asking.scores(parts, one), found.weights, wish.seed)
    else:
        asking.calls += measured.calls
    return replace(measured, stability=stability, calls=asking.calls - before)
