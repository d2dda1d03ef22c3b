"""From a tensor of scores to ranked, labelled classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.domain.signature import DYNAMIC, Datatype, TensorSpec
from modelry.processing.casting import FLOATING
from modelry.processing.complaints import check_finite
from modelry.processing.kinds import LABELS_ROLE, Building, StepKind
from modelry.processing.outputs import output_form, pick_output
from modelry.processing.parameters import Parameter, Unfit, integer, number, text
from modelry.processing.values import Context, Detections, Form, Ranking, Stage
from modelry.runtime_api.tensors import Array

MAX_CLASSES = 1_000_000
_FEW = 8
"""Classes of which fewer are summed up in their order, along rows as across them."""


def output(outputs: Mapping[str, Array], *, spec: TensorSpec, context: Context) -> Array:
    """Takes one of several outputs of the model."""
    return pick_output(outputs, spec=spec, context=context)


def _prepare_output(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    return {"spec": building.output(parameters["name"])}


def softmax(scores: Array) -> Array:
    """Scores as probabilities that sum to 1 over the last axis."""
    scores = _as_floats(scores)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities become NaN, which top_k refuses
        if scores.ndim == 2 and scores.shape[1] < _FEW:
            return _softmax_of_few(scores)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _softmax_of_few(scores: Array) -> Array:
    """Class by class: numpy is ten times as slow along short rows as it is across them."""
    classes: Array = np.array(scores.T, order="C")
    classes -= classes.max(axis=0)
    np.exp(classes, out=classes)
    classes /= classes.sum(axis=0)
    return classes.T


def sigmoid(scores: Array) -> Array:
    """Each score as a probability of its own."""
    scores = _as_floats(scores)
    small = np.exp(-np.abs(scores))  # never overflows
    probabilities: Array = np.where(scores >= 0, 1.0, small) / (1.0 + small)
    return probabilities.astype(scores.dtype, copy=False)


def top_k(scores: Array, *, k: int, min_score: float | None) -> Ranking:
    """The `k` best classes of each item, best first; equal scores by class index.

    With `min_score` only classes that reach it, possibly none.
    """
    scores = _rows(scores)
    check_finite(scores, "scores")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    if min_score is None:
        return Ranking(order.tolist(), best.tolist())
    counts = (best >= min_score).sum(axis=1).tolist()  # best first: a prefix of each row
    return Ranking(
        [row[:count] for row, count in zip(order.tolist(), counts, strict=True)],
        [row[:count] for row, count in zip(best.tolist(), counts, strict=True)],
    )


def classes(tensor: Array) -> Ranking:
    """Class indexes as the model itself chose them, without scores."""
    rows = tensor.reshape(len(tensor), -1)
    if rows.size and (rows.min() < 0 or rows.max() > MAX_CLASSES):
        raise ModelFailed(
            f"The model gave class indexes from {rows.min()} to {rows.max()}; expected 0 to "
            f"{MAX_CLASSES}."
        )
    return Ranking(rows.tolist(), None)


def label(found: Ranking | Detections, *, labels: tuple[str, ...]) -> Ranking | Detections:
    """Names classes by the version's labels."""
    return replace(found, labels=labels)


def _as_floats(scores: Array) -> Array:
    return scores if scores.dtype.kind == "f" else scores.astype(np.float32)


def _rows(scores: Array) -> Array:
    """Scores as (items, classes), whatever axes of size 1 lie between or after."""
    return _as_floats(scores).reshape(len(scores), -1)


def _trace_scores(form: Form, bound: Mapping[str, Any]) -> Form:
    del bound
    if form.datatype is Datatype.BYTES:
        raise Unfit("it needs numbers, but the model's output is text (BYTES).")
    form = replace(form, datatype=Datatype.FP32)
    if form.sizes is None:
        return form
    if len(form.sizes) < 2:
        raise Unfit(
            f"it needs scores of shape [n, classes], but the model's output is {list(form.sizes)}."
        )
    return form


def _trace_top_k(form: Form, bound: Mapping[str, Any]) -> Form:
    form = _trace_scores(form, bound)
    sizes = form.sizes
    if sizes is None:
        return form
    wide = [size for size in sizes[1:] if size != 1]
    if len(wide) > 1:
        raise Unfit(
            f"it needs one row of scores per item, but the tensor is {list(sizes)}; name another "
            "output ('output: NAME') or pool it first."
        )
    return replace(form, sizes=(wide[0] if wide else 1,))


def _trace_classes(form: Form, bound: Mapping[str, Any]) -> Form:
    del bound
    if form.datatype in FLOATING or form.datatype is Datatype.BYTES:
        raise Unfit(
            f"it needs class indexes as integers, but the output is {form.datatype}; use 'top_k' "
            "on the output with the scores."
        )
    return replace(form, sizes=None)


def _prepare_label(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    del parameters
    labels = building.assets.labels
    if not labels:
        raise Unfit("the manifest has no labels; give 'labels:' or 'files.labels'.")
    sizes = building.form.sizes
    if sizes and sizes[0] not in (DYNAMIC, len(labels)):
        raise Unfit(f"the manifest has {len(labels)} labels, but the model has {sizes[0]} classes.")
    return {"labels": tuple(labels)}


STEPS = (
    StepKind(
        name="output",
        side="post",
        run=output,
        takes=(Stage.OUTPUTS,),
        gives=Stage.TENSOR,
        parameters=(Parameter("name", text()),),
        shorthand="name",
        prepare=_prepare_output,
        trace=lambda _, bound: output_form(bound["spec"]),
        uses_context=True,
    ),
    StepKind("softmax", "post", softmax, takes=(Stage.TENSOR,), trace=_trace_scores),
    StepKind("sigmoid", "post", sigmoid, takes=(Stage.TENSOR,), trace=_trace_scores),
    StepKind(
        name="top_k",
        side="post",
        run=top_k,
        takes=(Stage.TENSOR,),
        gives=Stage.RANKING,
        parameters=(
            Parameter("k", integer(1, MAX_CLASSES), option="top_k", about="most classes per item"),
            Parameter(
                "min_score",
                number(-1e9, 1e9),
                default=None,
                option="min_score",
                about="least score of a class",
            ),
        ),
        shorthand="k",
        trace=_trace_top_k,
    ),
    StepKind(
        name="classes",
        side="post",
        run=classes,
        takes=(Stage.TENSOR,),
        gives=Stage.RANKING,
        trace=_trace_classes,
    ),
    StepKind(
        name="label",
        side="post",
        run=label,
        takes=(Stage.RANKING, Stage.OBJECTS, Stage.CANDIDATES),
        prepare=_prepare_label,
        files=lambda _: (LABELS_ROLE,),
    ),
)
