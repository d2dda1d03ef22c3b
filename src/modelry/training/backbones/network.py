"""What learns: the last blocks of a base, where asked for, and a new last layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from modelry.training.backbones.twin import Twin
from modelry.training.backbones.writing import LastLayer

LEAST_SPREAD = 0.05
"""Of the mean deviation of all features: what varies less is not blown up further."""


class Headed(nn.Module):
    """From the tensor where the base is cut to scores of classes.

    Args:
        tail: the blocks that learn; None for none.
        rank: of the features.
        width: how many there are.
        classes: how many scores to give.
        dropout: the share of features left out.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, tail: Twin | None, rank: int, width: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.tail = tail
        self.rank = rank
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, classes)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def features(self, values: Tensor) -> Tensor:
        """One row of features for each image (n, width)."""
        made = values if self.tail is None else self.tail(values)
        return pooled(made)

    def forward(self, values: Tensor) -> Tensor:
        """Logits (n, classes)."""
        scaled = (self.features(values) - self.mean) * self.scale
        logits: Tensor = self.dense(self.dropout(scaled))
        return logits

    def last_layer(self, reads: str) -> LastLayer:
        """What was learnt of it, as the layer that reads a tensor of the base."""
        held = (self.mean, self.scale, self.dense.weight, self.dense.bias)
        mean, scale, weight, bias = (one.detach().cpu().numpy() for one in held)
        return LastLayer(reads, self.rank, mean, scale, weight, bias)


def pooled(features: Tensor) -> Tensor:
    """(n, width) of itself, of tokens (n, tokens, width), or of maps (n, width, places...)."""
    if features.ndim == 2:
        return features
    if features.ndim == 3:
        return features.mean(1)
    return features.flatten(2).mean(2)


class Spread:
    """Mean and deviation of features, gathered part by part."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._sum = np.zeros(width)
        self._squares = np.zeros(width)

    def add(self, features: Tensor) -> None:
        """Some rows (n, width)."""
        held = features.detach().cpu().numpy().astype(np.float64)
        self._count += len(held)
        self._sum += held.sum(axis=0)
        self._squares += (held**2).sum(axis=0)

    def set_on(self, network: Headed) -> None:
        """Have the network bring its features to mean 0 and deviation 1, as they are now."""
        mean = self._sum / self._count
        deviation = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0.0))
        least = LEAST_SPREAD * float(deviation.mean())
        scale = 1.0 / np.maximum(deviation, least if least > 0 else 1.0)
        with torch.no_grad():
            network.mean.copy_(torch.from_numpy(mean))
            network.scale.copy_(torch.from_numpy(scale))
