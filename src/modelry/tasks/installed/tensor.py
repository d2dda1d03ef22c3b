"""Tensor: named tensors in, named tensors out, nothing before and nothing after.

For models of every kind that no other task is made for, and for clients that do their own
processing. It has no items: clients use the Open Inference Protocol.
"""

from __future__ import annotations

from modelry.tasks.contract import ModelFacts, Recognition, Task

NAME = "tensor"


def recognise(facts: ModelFacts) -> Recognition | None:
    """Anything with tensors; what all others leave over."""
    if not facts.signature.outputs:
        return None
    return Recognition(NAME, 0.3, ("tensors go in and out as they are",))


TASK = Task(
    name=NAME,
    summary="Runs named tensors through the model as they are.",
    formats=frozenset({"onnx"}),
    recognise=recognise,
)
