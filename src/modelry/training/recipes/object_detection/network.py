"""The detector: a convolutional backbone, a neck of both ways, a head for each scale.

Every cell of three grids (8, 16 and 32 pixels wide) tells, for an object whose middle is near it,
how sure it is of each class and how far the object's four edges are from the cell's centre. There
are no anchor boxes. Each distance is a distribution over `BINS` whole cells, whose mean counts.

Sources: Tian et al., "FCOS", 2019 (anchor-free); Li et al., "Generalized Focal Loss", 2020
(distances as distributions); Lin et al., "Feature Pyramid Networks", 2017, and Liu et al., "PANet",
2018 (neck); He et al., "Deep Residual Learning", 2016 (blocks).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from modelry.processing.detection.grids import cells
from modelry.training.recipes.object_detection import serving

STRIDES = serving.STRIDES
BINS = 16

_SURE_AT_FIRST = 0.01
"""What every class scores before training: most cells see nothing."""
_CELLS_AT_FIRST = 2.0
"""How far edges are said to be before training, with as much doubt: a uniform distribution would
make boxes of half the image, which overlap no object enough to be learnt from."""


class Seen(NamedTuple):
    """What the network says of n images, at p cells: raw scores and distributions.

    `scores` is (n, p, classes) before the sigmoid; `edges` (n, p, 4, `BINS`) before the softmax.
    """

    scores: Tensor
    edges: Tensor


class ConvNorm(nn.Sequential):
    """A convolution that keeps the size (or divides it by `stride`), batch norm, SiLU."""

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.SiLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        out: Tensor = maps + self.second(self.first(maps))
        return out


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    """Half the size, then blocks."""
    return nn.Sequential(
        ConvNorm(before, after, stride=2), *(Residual(after) for _ in range(blocks))
    )


class Backbone(nn.Module):
    """Feature maps at the strides 8, 16 and 32 of images (n, 3, h, w)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(3, width, stride=2), ConvNorm(width, 2 * width, stride=2)
        )
        self.channels = (4 * width, 6 * width, 8 * width)
        self.stages = nn.ModuleList(
            _stage(before, after, blocks)
            for before, after in zip((2 * width, *self.channels), self.channels, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Fine to coarse."""
        maps = self.stem(images)
        found = []
        for stage in self.stages:
            maps = stage(maps)
            found.append(maps)
        return found


class Neck(nn.Module):
    """Lets coarse maps tell fine ones what they see, and then the other way round."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.level = nn.ModuleList(ConvNorm(one, width, kernel=1) for one in channels)
        self.down = nn.ModuleList(ConvNorm(width, width) for _ in channels[1:])
        self.up = nn.ModuleList(ConvNorm(width, width, stride=2) for _ in channels[1:])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the same sizes, all with `width` channels."""
        levels = [level(one) for level, one in zip(self.level, maps, strict=True)]
        for at in reversed(range(len(levels) - 1)):
            coarse = functional.interpolate(levels[at + 1], scale_factor=2.0, mode="nearest")
            levels[at] = self.down[at](levels[at] + coarse)
        for at in range(1, len(levels)):
            levels[at] = levels[at] + self.up[at - 1](levels[at - 1])
        return levels


class LevelHead(nn.Module):
    """Class scores and distances of edges at one level: two branches."""

    def __init__(self, width: int, class_count: int) -> None:
        super().__init__()
        self.class_branch = nn.Sequential(ConvNorm(width, width), nn.Conv2d(width, class_count, 1))
        self.edge_branch = nn.Sequential(ConvNorm(width, width), nn.Conv2d(width, 4 * BINS, 1))
        nn.init.constant_(_bias(self.class_branch[1]), -math.log(1 / _SURE_AT_FIRST - 1))
        near = -0.5 * ((torch.arange(BINS) - _CELLS_AT_FIRST) / _CELLS_AT_FIRST) ** 2
        with torch.no_grad():
            _bias(self.edge_branch[1]).copy_(near.repeat(4))

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Cells row by row."""
        scores, edges = _rows(self.class_branch(level)), _rows(self.edge_branch(level))
        return scores, edges.reshape(*edges.shape[:2], 4, BINS)


class Head(nn.Module):
    """A head for each level: what their maps hold differs too much for the same batch norms."""

    def __init__(self, width: int, class_count: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(LevelHead(width, class_count) for _ in STRIDES)

    def forward(self, levels: list[Tensor]) -> Seen:
        """Cells level by level."""
        seen = [head(level) for head, level in zip(self.levels, levels, strict=True)]
        return Seen(torch.cat([one[0] for one in seen], 1), torch.cat([one[1] for one in seen], 1))


class Detector(nn.Module):
    """The whole network.

    Args:
        class_count: how many classes it tells apart.
        size: height and width of its images, each a multiple of 32.
        width: channels after the first layer.
        blocks: residual blocks per stage.
    """

    points: Tensor
    steps: Tensor
    bins: Tensor

    def __init__(self, class_count: int, size: tuple[int, int], width: int, blocks: int) -> None:
        super().__init__()
        self.size = size
        self.backbone = Backbone(width, blocks)
        self.neck = Neck(self.backbone.channels, 4 * width)
        self.head = Head(4 * width, class_count)
        points, steps = cells(size, STRIDES, 0.5)
        self.register_buffer("points", torch.tensor(points, dtype=torch.float32), persistent=False)
        self.register_buffer("steps", torch.tensor(steps, dtype=torch.float32), persistent=False)
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32), persistent=False)

    def forward(self, images: Tensor) -> Seen:
        """What is seen in images (n, 3, h, w), floating, 0 to 255."""
        return self.head(self.neck(self.backbone(images / 127.5 - 1.0)))  # type: ignore[no-any-return]

    def boxes(self, edges: Tensor) -> Tensor:
        """Boxes (n, p, 4) as x0, y0, x1, y1 in pixels of the input."""
        distances = (edges.softmax(3) @ self.bins) * self.steps
        return torch.cat([self.points - distances[..., :2], self.points + distances[..., 2:]], 2)


class Exportable(nn.Module):
    """The detector as it is exported: bytes in, `yolov8`'s form out.

    Takes images (n, 3, h, w) as bytes; gives (n, 4 + classes, p): centre, width and height of each
    box as fractions of the input's sides, then the probability of each class.
    """

    extent: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        height, width = detector.size
        self.register_buffer("extent", torch.tensor([width, height] * 2, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """All cells; suppression is left to the processing graph."""
        seen = self.detector(images.to(torch.float32))
        corners = self.detector.boxes(seen.edges) / self.extent
        low, high = corners[..., :2], corners[..., 2:]
        rows = torch.cat([(low + high) / 2, high - low, seen.scores.sigmoid()], 2)
        return rows.transpose(1, 2)


def _rows(maps: Tensor) -> Tensor:
    """Maps (n, c, h, w) as (n, h * w, c)."""
    return maps.flatten(2).transpose(1, 2)


def _bias(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.bias
