"""What recipes share that choose classes: the loss, answers over many rows, their measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modelry.domain.signature import DYNAMIC, Datatype, TensorSpec
from modelry.metrics import classification
from modelry.runtime_api.tensors import Array
from modelry.training.labels import Numbers, balanced_weights

OUTPUT = "logits"
SHOWN_CLASSES = 5


def logits_spec(classes: int) -> TensorSpec:
    """The output of models that score classes."""
    return TensorSpec(OUTPUT, Datatype.FP32, (DYNAMIC, classes))


def class_steps(classes: int) -> list[Any]:
    """The steps after such a model: the best five classes with their probabilities and names."""
    return ["softmax", {"top_k": min(SHOWN_CLASSES, classes)}, "label"]


class ClassLoss(torch.nn.Module):
    """Cross entropy of logits, in nats, weighted by class.

    Args:
        numbers: the classes of the rows that are learnt from.
        count: how many classes there are.
        weighting: `balanced` for classes that weigh alike, however many rows they have.
        smoothing: the share of certainty that is spread over all classes (Szegedy et al., 2016).
    """

    def __init__(
        self, numbers: Numbers, count: int, weighting: str, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        weights = None
        if weighting == "balanced":
            weights = torch.from_numpy(balanced_weights(numbers, count))
        self._measure = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)

    def forward(self, logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The mean over a batch."""
        loss: torch.Tensor = self._measure(logits, numbers)
        return loss


def logits_over(
    model: torch.nn.Module, batches: Iterable[Sequence[torch.Tensor]], device: torch.device
) -> Array:
    """The model's scores (n, classes) of all rows; the model must be in evaluation mode."""
    with torch.no_grad():
        found = [
            model(*(one.to(device) for one in batch)).float().cpu().numpy() for batch in batches
        ]
    return np.concatenate(found)


def measured(logits: Array, numbers: Numbers) -> dict[str, float]:
    """`metrics.classification.summary` of scores, with its `log_loss` called `loss`."""
    scores = logits.astype(np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    told = classification.summary(numbers, powers / powers.sum(axis=1, keepdims=True))
    return {"loss": told.pop("log_loss"), **told}


def held_out_places(count: int, held_out: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows are learnt from and which are held out, by the seed; both in order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))
    return order[held_out:].sort().values, order[:held_out].sort().values


def accuracy_of(numbers: Numbers) -> tuple[str, Callable[[Mapping[str, Array]], float]]:
    """The metric that is told of a parity check: the accuracy on rows of these classes."""
    return "accuracy", lambda outputs: classification.accuracy(
        numbers, outputs[OUTPUT].argmax(axis=1)
    )
