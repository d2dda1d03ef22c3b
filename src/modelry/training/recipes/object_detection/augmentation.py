"""Changes of training images that leave what is in them: mirrored, moved, scaled, recoloured.

All of them work on a batch of inputs at once, and move the boxes with the pixels. Chance comes from
torch's own generator, which the loop seeds for every step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modelry.training.recipes.object_detection.assignment import Truth

MIN_SCALE, MAX_SCALE = 0.75, 1.35
MAX_SHIFT = 0.15
MIN_VISIBLE = 0.4
"""An object of which less is left in the image is not taught any more."""
MAX_BRIGHTNESS = 50.0
MIN_CONTRAST, MAX_CONTRAST = 0.6, 1.4
GROUND = 114.0


def augment(images: Tensor, truth: Truth, *, mirror: bool) -> tuple[Tensor, Truth]:
    """Change a batch at random.

    Args:
        images: (n, 3, h, w) floating, 0 to 255.
        truth: what is in them.
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
    """Contrast of each image and brightness of each of its channels changed."""
    n = len(images)
    contrast = _uniform((n, 1, 1, 1), MIN_CONTRAST, MAX_CONTRAST)
    brightness = _uniform((n, 1, 1, 1), -MAX_BRIGHTNESS, MAX_BRIGHTNESS)
    tint = _uniform((n, 3, 1, 1), -MAX_BRIGHTNESS / 3, MAX_BRIGHTNESS / 3)
    added = (brightness + tint).to(images.device)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast.to(images.device) + mean + added).clamp(0, 255)


def _mirrored(images: Tensor, truth: Truth) -> tuple[Tensor, Truth]:
    """Half of the images with left and right swapped."""
    swapped = torch.rand(len(images)).to(images.device) < 0.5
    images = torch.where(swapped[:, None, None, None], images.flip(3), images)
    width = images.shape[3]
    x0, y0, x1, y1 = truth.boxes.unbind(2)
    other = torch.stack([width - x1, y0, width - x0, y1], 2)
    boxes = torch.where(swapped[:, None, None], other, truth.boxes)
    return images, truth._replace(boxes=boxes)


def _moved(images: Tensor, truth: Truth) -> tuple[Tensor, Truth]:
    """Every image scaled around its middle and shifted; what comes into sight is grey."""
    n, _, height, width = images.shape
    scale = _uniform((n,), MIN_SCALE, MAX_SCALE).to(images.device)
    shift = _uniform((n, 2), -MAX_SHIFT, MAX_SHIFT).to(images.device)
    grid_map = torch.zeros((n, 2, 3), device=images.device)
    grid_map[:, 0, 0] = grid_map[:, 1, 1] = 1 / scale
    grid_map[:, :, 2] = -2 * shift / scale[:, None]
    grid = functional.affine_grid(grid_map, list(images.shape), align_corners=False)
    images = functional.grid_sample(images - GROUND, grid, align_corners=False) + GROUND
    extent = torch.tensor([width, height] * 2, dtype=torch.float32, device=images.device)
    middle = extent / 2
    offset = shift.repeat(1, 2)[:, None] * extent
    moved = (truth.boxes - middle) * scale[:, None, None] + middle + offset
    cut = torch.minimum(moved.clamp(min=0), extent)
    before, after = _areas(moved), _areas(cut)
    is_seen = (after > MIN_VISIBLE * before) & (after > 1)
    return images, Truth(cut, truth.classes, truth.is_real & is_seen)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
