"""EfficientNet-Lite0 in torch, with normalisation folded into convolutions as exports have it.

Tan and Le, "EfficientNet", ICML 2019; the variant without squeezing, with ReLU6. Pads as
TensorFlow does, which puts the odd row and column behind.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STRIDED = frozenset({1, 3, 5, 11})
"""The blocks that halve the maps."""


class LiteNetwork(nn.Module):
    """Of the file's weights: `_conv_stem`, `_blocks.N._…_conv`, `_conv_head` and `_fc`."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._weights = weights
        self._blocks = 1 + max(int(one.split(".")[1]) for one in weights if "_blocks." in one)
        self.rectifier = nn.ReLU6()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        maps = functional.relu6(self._convolved(image, "_conv_stem", 2))
        for at in range(self._blocks):
            maps = self._block(maps, at)
        maps = self.rectifier(self._convolved(maps, "_conv_head"))
        weights = self._weights
        return functional.linear(maps.mean(dim=(2, 3)), weights["_fc.weight"], weights["_fc.bias"])

    def _block(self, given: torch.Tensor, at: int) -> torch.Tensor:
        stride = 2 if at in STRIDED else 1
        name = f"_blocks.{at}._"
        maps = given
        if f"{name}expand_conv.weight" in self._weights:
            maps = functional.relu6(self._convolved(maps, f"{name}expand_conv"))
        maps = functional.relu6(self._convolved(maps, f"{name}depthwise_conv", stride))
        maps = self._convolved(maps, f"{name}project_conv")
        return maps + given if maps.shape == given.shape else maps

    def _convolved(self, maps: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.weight_bias"]
        groups = maps.shape[1] // weight.shape[1]
        before, after = (weight.shape[2] - stride) // 2, (weight.shape[2] - stride + 1) // 2
        if before != after:
            maps, before = functional.pad(maps, (before, after, before, after)), 0
        return functional.conv2d(maps, weight, bias, stride, before, groups=groups)


def lite_network(arrays: Mapping[str, np.ndarray]) -> LiteNetwork:
    """The network with the weights that it is asked about."""
    weights = {name: torch.tensor(one) for name, one in arrays.items() if name.startswith("_")}
    return LiteNetwork(weights).eval()
