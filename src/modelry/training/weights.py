"""Trained weights as something that can be compared and named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def digest_of(state: Mapping[str, torch.Tensor]) -> str:
    """`sha256:<hex>` over names, types, shapes and bytes of all weights, in the order of names.

    Args:
        state: as `Module.state_dict()` gives it; buffers count as weights.
    """
    found = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{found.hexdigest()}"


def copy_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as they are now, apart from what happens to the model later."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def first_not_finite(state: Mapping[str, torch.Tensor]) -> str | None:
    """The name of a weight that holds NaN or an infinity, if there is one."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return None
