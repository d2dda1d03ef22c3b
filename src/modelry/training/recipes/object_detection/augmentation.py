"""Changes of training images that leave what is in them: recoloured, mirrored, moved, scaled.

All of them work on a batch of inputs at once, and move the boxes with the pixels. Chance comes from
torch's own generator, which the loop seeds for every step. What is in the images stays in the
memory of the CPU, where the images may be on a GPU: the work on a few boxes is small, and each
question about them would wait for the GPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from modelry.training.recipes.object_detection.assignment import Truth

MIN_SCALE, MAX_SCALE = 0.75, 1.35
MAX_STRETCH = 1.15
"""How much more one side is scaled than the other."""
MAX_SHIFT = 0.15
MIN_VISIBLE = 0.4
"""An object of which less is left in the image is not taught any more."""
MAX_BRIGHTNESS = 50.0
MIN_CONTRAST, MAX_CONTRAST = 0.6, 1.4
MIN_SATURATION, MAX_SATURATION = 0.0, 1.6
MAX_HUE = math.pi / 10
"""How far colours are turned around the axis of greys."""
GROUND = 114.0

_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_TO_RGB = _TO_YIQ.inverse()


def augment(images: Tensor, truth: Truth, *, mirror: bool) -> tuple[Tensor, Truth]:
    """Change a batch at random.

    Args:
        images: (n, 3, h, w) floating, 0 to 255.
        truth: what is in them, in the memory of the CPU.
        mirror: whether left and right may be swapped.

    Returns:
        Images of the same shape, and what is in them now.
    """
    images = _recoloured(images)
    if mirror:
        images, truth = _mirrored(images, truth)
    return _moved(images, truth)


def _uniform(shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.rand(shape) * (high - low) + low


def _recoloured(images: Tensor) -> Tensor:
    """Hue, saturation and contrast of each image and brightness of each of its channels changed."""
    n, _, height, width = images.shape
    contrast = _uniform((n, 1, 1), MIN_CONTRAST, MAX_CONTRAST)
    brightness = _uniform((n, 1, 1), -MAX_BRIGHTNESS, MAX_BRIGHTNESS)
    tint = _uniform((n, 3, 1), -MAX_BRIGHTNESS / 3, MAX_BRIGHTNESS / 3)
    mixed = (colour_mixing(n) * contrast).to(images.device)
    added = (brightness + tint).to(images.device)
    pixels = images.permute(0, 2, 3, 1).reshape(n, height * width, 3)  # no copy: channels are last
    mean = pixels.mean((1, 2), keepdim=True)
    changed = torch.baddbmm(mean + added.mT, pixels - mean, mixed.mT).clamp(0, 255)
    return changed.reshape(n, height, width, 3).permute(0, 3, 1, 2)


def colour_mixing(n: int) -> Tensor:
    """(n, 3, 3): how red, green and blue come of each other; greys stay as they are."""
    turned = _uniform((n,), -MAX_HUE, MAX_HUE)
    saturation = _uniform((n,), MIN_SATURATION, MAX_SATURATION)
    yiq = torch.zeros(n, 3, 3)
    yiq[:, 0, 0] = 1.0
    yiq[:, 1, 1] = yiq[:, 2, 2] = saturation * turned.cos()
    yiq[:, 2, 1] = saturation * turned.sin()
    yiq[:, 1, 2] = -yiq[:, 2, 1]
    return _TO_RGB @ yiq @ _TO_YIQ


def _mirrored(images: Tensor, truth: Truth) -> tuple[Tensor, Truth]:
    """Half of the images with left and right swapped."""
    swapped = torch.rand(len(images)) < 0.5
    images = torch.where(swapped[:, None, None, None].to(images.device), images.flip(3), images)
    width = images.shape[3]
    x0, y0, x1, y1 = truth.boxes.unbind(2)
    other = torch.stack([width - x1, y0, width - x0, y1], 2)
    boxes = torch.where(swapped[:, None, None], other, truth.boxes)
    return images, truth._replace(boxes=boxes)


def _moved(images: Tensor, truth: Truth) -> tuple[Tensor, Truth]:
    """Every image scaled around its middle and shifted; what comes into sight is grey."""
    n, _, height, width = images.shape
    scale = _uniform((n, 1), MIN_SCALE, MAX_SCALE)
    stretch = MAX_STRETCH ** _uniform((n, 1), -0.5, 0.5)
    scales = torch.cat([scale * stretch, scale / stretch], 1)
    shift = _uniform((n, 2), -MAX_SHIFT, MAX_SHIFT)
    grid_map = torch.zeros((n, 2, 3))
    grid_map[:, 0, 0], grid_map[:, 1, 1] = (1 / scales).unbind(1)
    grid_map[:, :, 2] = -2 * shift / scales
    grid_map = grid_map.to(images.device)
    grid = functional.affine_grid(grid_map, list(images.shape), align_corners=False)
    images = functional.grid_sample(images - GROUND, grid, align_corners=False) + GROUND
    extent = torch.tensor([width, height] * 2, dtype=torch.float32)
    middle = extent / 2
    offset = shift.repeat(1, 2)[:, None] * extent
    moved = (truth.boxes - middle) * scales.repeat(1, 2)[:, None] + middle + offset
    cut = torch.minimum(moved.clamp(min=0), extent)
    return images, Truth(cut, truth.classes, truth.is_real & is_seen(moved, cut))


def is_seen(whole: Tensor, cut: Tensor) -> Tensor:
    """Whether enough of boxes (..., 4) is left after they were cut to be learnt from."""
    before, after = _areas(whole), _areas(cut)
    return (after > MIN_VISIBLE * before) & (after > 1)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
