"""Changes to pixel tensors that leave the class as it is, drawn anew for each row and step.

They work on what the `pre` steps gave, (n, channels, height, width), and draw from torch's own
generator, which the loop seeds for every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

ERASED_SHARE = 0.35
"""Of each side: the largest part that `erase` blanks."""
SHIFTED_SHARE = 1 / 14
"""Of each side: how far `shift` moves at most; 2 of 28 pixels."""
TURNED_DEGREES = 10.0
BRIGHTENED_BY = 0.2

Change = Callable[[torch.Tensor], torch.Tensor]


def flip(pixels: torch.Tensor) -> torch.Tensor:
    """Mirrors half of the rows, left to right."""
    chosen = torch.rand(len(pixels)) < 0.5
    return torch.where(chosen[:, None, None, None].to(pixels.device), pixels.flip(3), pixels)


def shift(pixels: torch.Tensor) -> torch.Tensor:
    """Moves each row by a few pixels; what comes in from outside is black."""
    count, channels, height, width = pixels.shape
    down = max(1, round(height * SHIFTED_SHARE))
    right = max(1, round(width * SHIFTED_SHARE))
    padded = functional.pad(pixels, (right, right, down, down))
    tops = torch.randint(0, 2 * down + 1, (count,))
    lefts = torch.randint(0, 2 * right + 1, (count,))
    rows = (tops[:, None] + torch.arange(height))[:, None, :, None]
    columns = (lefts[:, None] + torch.arange(width))[:, None, None, :]
    which = torch.arange(count)[:, None, None, None]
    planes = torch.arange(channels)[None, :, None, None]
    return padded[which, planes, rows, columns]


def erase(pixels: torch.Tensor) -> torch.Tensor:
    """Blanks a rectangle of half of the rows (DeVries and Taylor, "Cutout", 2017)."""
    count, _, height, width = pixels.shape
    tall = (torch.rand(count) * ERASED_SHARE * height).long() + 1
    wide = (torch.rand(count) * ERASED_SHARE * width).long() + 1
    tops = (torch.rand(count) * (height - tall + 1)).long()
    lefts = (torch.rand(count) * (width - wide + 1)).long()
    rows, columns = torch.arange(height), torch.arange(width)
    within_rows = (rows >= tops[:, None]) & (rows < (tops + tall)[:, None])
    within_columns = (columns >= lefts[:, None]) & (columns < (lefts + wide)[:, None])
    blanked = within_rows[:, :, None] & within_columns[:, None, :]
    blanked &= (torch.rand(count) < 0.5)[:, None, None]
    return pixels.masked_fill(blanked[:, None].to(pixels.device), 0.0)


def turn(pixels: torch.Tensor) -> torch.Tensor:
    """Turns each row by a few degrees around its middle."""
    angles = (torch.rand(len(pixels)) * 2 - 1) * (TURNED_DEGREES * torch.pi / 180)
    height, width = pixels.shape[2:]
    zeros, cos, sin = torch.zeros_like(angles), angles.cos(), angles.sin()
    across = torch.stack([cos, -sin * height / width, zeros], dim=1)
    along = torch.stack([sin * width / height, cos, zeros], dim=1)
    turning = torch.stack([across, along], dim=1).to(pixels.device)
    grid = functional.affine_grid(turning, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)


def brighten(pixels: torch.Tensor) -> torch.Tensor:
    """Makes each row up to a fifth brighter or darker."""
    factors = 1 + (torch.rand(len(pixels)) * 2 - 1) * BRIGHTENED_BY
    return pixels * factors[:, None, None, None].to(pixels.device)


CHANGES: dict[str, Change] = {
    "flip": flip,
    "shift": shift,
    "turn": turn,
    "brighten": brighten,
    "erase": erase,
}


def changed(pixels: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """`pixels` after the named changes, in the order given."""
    for name in names:
        pixels = CHANGES[name](pixels)
    return pixels
