"""Networks that score classes of images: pixels (n, channels, height, width) to logits."""

from __future__ import annotations

import torch
from torch import nn

SMALL_FILTERS = 32


class SmallNetwork(nn.Module):
    """Convolution 3x3, ReLU, pooling 2x2, one dense layer; begun as Keras begins its layers."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, SMALL_FILTERS, 3)
        pooled = SMALL_FILTERS * ((height - 2) // 2) * ((width - 2) // 2)
        self.dense = nn.Linear(pooled, classes)
        for weight in (self.convolution.weight, self.dense.weight):
            nn.init.xavier_uniform_(weight)
        for bias in (self.convolution.bias, self.dense.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes)."""
        features = torch.max_pool2d(torch.relu(self.convolution(image)), 2)
        logits: torch.Tensor = self.dense(features.flatten(1))
        return logits


class ResidualBlock(nn.Module):
    """Two convolutions beside a short cut (He et al., "Deep Residual Learning", 2015)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outer)
        self.short_cut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.short_cut = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of `outer` channels, smaller by the stride."""
        changed = torch.relu(self.first_norm(self.first(features)))
        changed = self.second_norm(self.second(changed))
        return torch.relu(changed + self.short_cut(features))


class ResidualNetwork(nn.Module):
    """A stem, three stages that double the width and halve the size, the mean, one dense layer."""

    def __init__(
        self, channels: int, classes: int, width: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inner = width
        for stage in range(3):
            outer = width * 2**stage
            for at in range(blocks):
                stages.append(ResidualBlock(inner, outer, 2 if stage and not at else 1))
                inner = outer
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(inner, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes)."""
        features = torch.max_pool2d(torch.relu(self.stem_norm(self.stem(image))), 2)
        features = self.stages(features).mean((2, 3))
        logits: torch.Tensor = self.dense(self.dropout(features))
        return logits
