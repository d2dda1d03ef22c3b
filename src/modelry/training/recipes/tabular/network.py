"""A network over cells: numbers are brought to one scale within it, categories become vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from modelry.training.recipes.tabular.table import Cells

FARTHEST = 8.0
"""How many standard deviations from the mean a number counts at most."""
LARGEST_VECTOR = 32


class TableNetwork(nn.Module):
    """Cells (n, columns), NaN where missing, to outputs (n, outputs).

    Args:
        cells: of the rows that are learnt from: their means and deviations become part of it.
        categories: per column how many it has; 0 for a number.
        outputs: how many.
        layers: widths of the hidden ones.
        dropout: the share of features left out after each.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    output_mean: torch.Tensor
    output_deviation: torch.Tensor

    def __init__(
        self,
        cells: Cells,
        categories: Sequence[int],
        outputs: int,
        layers: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.numbers = [at for at, count in enumerate(categories) if not count]
        self.choices = [at for at, count in enumerate(categories) if count]
        held = cells[:, self.numbers].astype(np.float64)
        mean, deviation = _moments(held)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))
        self.register_buffer("output_mean", torch.zeros(outputs))
        self.register_buffer("output_deviation", torch.ones(outputs))
        self.vectors = nn.ModuleList(
            nn.Embedding(categories[at], min(LARGEST_VECTOR, math.isqrt(categories[at]) + 1))
            for at in self.choices
        )
        width = 2 * len(self.numbers) + sum(one.embedding_dim for one in self.vectors)  # type: ignore[misc]
        parts: list[nn.Module] = []
        for outer in layers:
            parts += [nn.Linear(width, outer), nn.SiLU(), nn.Dropout(dropout)]
            width = outer
        self.body = nn.Sequential(*parts, nn.Linear(width, outputs))

    def scale_outputs(self, targets: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
        """Answer in the units of these targets, while what is learnt is of size 1."""
        deviation = float(targets.std()) or 1.0
        self.output_mean.fill_(float(targets.mean()))
        self.output_deviation.fill_(deviation)

    def standard(self, cells: torch.Tensor) -> torch.Tensor:
        """Outputs before they are brought to the targets' units."""
        parts = []
        if self.numbers:
            numbers = cells[:, self.numbers]
            missing = torch.isnan(numbers)
            scaled = (numbers - self.mean) / self.deviation
            scaled = torch.where(missing, torch.zeros_like(scaled), scaled)
            parts += [scaled.clamp(-FARTHEST, FARTHEST), missing.to(scaled.dtype)]
        for at, table in zip(self.choices, self.vectors, strict=True):
            parts.append(table(cells[:, at].long()))
        found: torch.Tensor = self.body(torch.cat(parts, dim=1))
        return found

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Outputs (n, outputs)."""
        return self.standard(cells) * self.output_deviation + self.output_mean


def _moments(held: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[Cells, Cells]:
    """Mean and standard deviation per column, of the cells that are there; 0 and 1 for none."""
    there = ~np.isnan(held)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, held, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(there, held - mean, 0.0) ** 2).sum(axis=0) / count)
    deviation = np.where(spread > 0, spread, 1.0)
    return mean.astype(np.float32), deviation.astype(np.float32)
