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

INPUT = "input"
"""The name of the input with what is explained, as `explaining.asked` writes it."""
FILE = "file:"
"""Begins the names of the version's files; the role follows."""
EXPLANATION = "explanation.json"
"""The name of what is handed over."""
INFER = "infer"
MEASURE = "measure"
"""What the server is asked: as frames of the first name, `{inputs}`; its answer has `{arrays}`. Or
to have weights of the same item measured, `{weights, target}`; its answer has `{faithfulness,
model_calls}`."""
