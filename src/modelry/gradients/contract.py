"""What the work `explain-one` is asked, and which methods it has; imports no framework."""

from __future__ import annotations

from collections.abc import Mapping

WORK = "explain-one"
GRAD_CAM = "grad-cam"
INTEGRATED_GRADIENTS = "integrated-gradients"

METHODS: Mapping[str, tuple[str, ...]] = {
    "image-classification": (GRAD_CAM, INTEGRATED_GRADIENTS),
    "text-classification": (INTEGRATED_GRADIENTS,),
    "tabular": (INTEGRATED_GRADIENTS,),
}
"""By task."""
NAMES = frozenset(name for names in METHODS.values() for name in names)

FILE = "file:"
"""Begins the names of the version's files; the role follows."""
EXPLANATION = "explanation.json"
"""The name under which jobs keep what was found."""
ASKED = "asked"
INFER = "infer"
MEASURE = "measure"
"""What the server is asked: what is explained, as `explaining.asked` writes it (the answer's body).
Or what the engine that serves answers, `{inputs}`, as in frames; its answer has `{arrays}`. Or to
have weights of the same item measured, `{weights, target}`; its answer has `{faithfulness,
model_calls}`."""
