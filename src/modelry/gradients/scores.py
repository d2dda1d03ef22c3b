"""From a graph's output to the numbers that a version ranks by, in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelry.gradients.twin import no_twin

SOFTMAX = "softmax"
_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    SOFTMAX: lambda values: torch.softmax(values, dim=-1),
    "sigmoid": torch.sigmoid,
}
_ENDS = frozenset({"top_k", "label"})


@dataclass(frozen=True, slots=True)
class ScoreSteps:
    """Which output scores, and what its numbers go through.

    Attributes:
        output: its name.
        activations: steps, in order.
    """

    output: str
    activations: tuple[str, ...]

    def of(self, values: Tensor) -> Tensor:
        """Scores (rows, numbers) of the output (rows, …)."""
        for name in self.activations:
            values = _ACTIVATIONS[name](values)
        return values.reshape(len(values), -1)


def score_steps(post: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> ScoreSteps:
    """The steps of a version's `post` up to where classes are ranked.

    Args:
        post: normalised steps.
        outputs: names of the graph's outputs.

    Raises:
        NotSupported: a step has no gradients here.
    """
    output = outputs[0] if len(outputs) == 1 else None
    activations = []
    for step in post:
        name = step["step"]
        if name == "output":
            output = str(step["name"])
        elif name in _ACTIVATIONS:
            activations.append(name)
        elif name in _ENDS:
            break
        else:
            raise no_twin(f"the step '{name}' of its 'post' has no gradients here.")
    if output is None:
        raise no_twin("its 'post' does not say which output scores.")
    return ScoreSteps(output, tuple(activations))
