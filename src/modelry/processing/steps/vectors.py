"""From token vectors to one vector per item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.processing.complaints import check_finite
from modelry.processing.kinds import StepKind
from modelry.processing.parameters import Parameter, Unfit, choice
from modelry.processing.values import Context, Form, Stage
from modelry.runtime_api.tensors import Array


def pool(vectors: Array, *, by: str, context: Context) -> Array:
    """One vector per text from those of its tokens: their mean, the first's or the last's.

    Padding does not count. `cls` is the first token that is no padding.
    """
    mask = np.ones(vectors.shape[:2], dtype=bool) if context.mask is None else context.mask
    if vectors.shape[:2] != mask.shape:
        raise ModelFailed(
            f"The model's output has shape {list(vectors.shape)}; expected one vector for each of "
            f"the {list(mask.shape)} tokens. Name another output ('output: NAME')."
        )
    if by == "mean":
        weights = mask.astype(np.float32)
        total = np.einsum("ntd,nt->nd", vectors, weights)
        mean: Array = total / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
        return mean
    width = mask.shape[1]
    places = mask.argmax(axis=1) if by == "cls" else width - 1 - mask[:, ::-1].argmax(axis=1)
    chosen: Array = vectors[np.arange(len(vectors)), places]
    return chosen


def l2_normalize(vectors: Array) -> Array:
    """Vectors scaled to length 1; vectors of zeros stay."""
    check_finite(vectors, "vectors")
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    scaled = vectors / np.where(largest == 0, 1, largest)  # so that no square over- or underflows
    norms = np.linalg.norm(scaled, axis=-1, keepdims=True)
    unit: Array = scaled / np.where(norms == 0, 1, norms)
    return unit


def _trace_pool(form: Form, bound: Mapping[str, Any]) -> Form:
    del bound
    if form.sizes is None:
        return form
    if len(form.sizes) != 3:
        raise Unfit(
            f"it needs an output of shape [n, tokens, size], but the model's is "
            f"{list(form.sizes)}; name another output ('output: NAME') or leave 'pool' out."
        )
    return replace(form, sizes=(form.sizes[0], form.sizes[2]))


STEPS = (
    StepKind(
        name="pool",
        side="post",
        run=pool,
        takes=(Stage.TENSOR,),
        parameters=(Parameter("by", choice("mean", "cls", "last"), default="mean"),),
        shorthand="by",
        trace=_trace_pool,
        uses_context=True,
    ),
    StepKind("l2_normalize", "post", l2_normalize, takes=(Stage.TENSOR,)),
)
