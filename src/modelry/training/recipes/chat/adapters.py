"""Low-rank adapters (Hu et al., 2021): what training changes, and the GGUF file that keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from torch.nn import functional

from modelry.domain.errors import InvalidInput
from modelry.training.recipes.chat import PROJECTIONS, ChatParameters, Projection
from modelry.training.recipes.chat.base_file import metadata_of, opened
from modelry.training.recipes.chat.shape import Shape

TENSORS: dict[Projection, str] = dict(
    zip(
        PROJECTIONS,
        ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
        strict=True,
    )
)
"""What the matrices of a layer are called in the file."""
_ALPHA = "adapter.lora.alpha"
_TYPES = {"general.type": "adapter", "adapter.type": "lora"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Of all adapters of a model alike."""

    rank: int
    alpha: float
    targets: tuple[Projection, ...]

    @classmethod
    def of(cls, parameters: ChatParameters) -> Settings:
        """As the parameters say; the order of `targets` means nothing."""
        targets = tuple(one for one in PROJECTIONS if one in parameters.targets)
        return cls(parameters.rank, parameters.alpha, targets)


class Adapters(torch.nn.Module):
    """For each matrix W (out, in) of the targets an A (rank, in) and a B (out, rank): W + s B A.

    B begins as zeros, so at first the model answers as its base does.

    Args:
        shape: of the model.
        settings: which matrices, and how large.
        dropout: the share of an adapter's inputs that is left out while it learns.
    """

    def __init__(self, shape: Shape, settings: Settings, dropout: float = 0.0) -> None:
        super().__init__()
        self.settings = settings
        self._scale = settings.alpha / settings.rank
        self._dropout = dropout
        self.pairs = torch.nn.ParameterDict()
        for layer in range(shape.layers):
            for target in settings.targets:
                wide, narrow = _size(shape, target)
                first = torch.empty(settings.rank, narrow)
                torch.nn.init.kaiming_uniform_(first, a=math.sqrt(5))
                key = _key(layer, TENSORS[target])
                self.pairs[f"{key}_a"] = torch.nn.Parameter(first)
                self.pairs[f"{key}_b"] = torch.nn.Parameter(torch.zeros(wide, settings.rank))

    def added(self, layer: int, tensor: str, x: torch.Tensor) -> torch.Tensor | None:
        """What the adapter of a matrix adds to its output; None where it has none."""
        key = _key(layer, tensor)
        if f"{key}_a" not in self.pairs:
            return None
        if self._dropout and self.training:
            x = functional.dropout(x, self._dropout)
        first, second = self.pairs[f"{key}_a"], self.pairs[f"{key}_b"]
        return functional.linear(functional.linear(x.to(first.dtype), first), second) * self._scale


def write_adapter(adapters: Adapters, shape: Shape, file: Path) -> None:
    """The adapters as llama.cpp reads them."""
    writer = gguf.GGUFWriter(file, shape.architecture)
    for key, value in _TYPES.items():
        writer.add_string(key, value)
    writer.add_float32(_ALPHA, adapters.settings.alpha)
    for layer in range(shape.layers):
        for target in adapters.settings.targets:
            tensor = TENSORS[target]
            for part in "ab":
                weights = adapters.pairs[f"{_key(layer, tensor)}_{part}"].detach().cpu()
                writer.add_tensor(f"blk.{layer}.{tensor}.weight.lora_{part}", weights.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def take_adapter(adapters: Adapters, shape: Shape, file: Path) -> None:
    """Begin from the adapters of a version that was trained here before.

    Raises:
        InvalidInput: they have another rank, alpha or targets; says which.
        ModelFailed: the file is damaged.
    """
    reader = opened(file)
    found = {one.name: np.array(one.data) for one in reader.tensors}
    has = Settings(
        rank=_rank(found),
        alpha=float(metadata_of(reader).get(_ALPHA, 0.0)),
        targets=_targets(list(found)),
    )
    if has != adapters.settings:
        raise InvalidInput(
            f"The base version has an adapter already, which is trained further as it is: with "
            f"rank {has.rank}, alpha {has.alpha:g} and the targets {', '.join(has.targets)}. Give "
            "these, or begin from the version that it was trained from.",
            param="rank",
        )
    with torch.no_grad():
        for layer in range(shape.layers):
            for target in adapters.settings.targets:
                tensor = TENSORS[target]
                for part in "ab":
                    own = adapters.pairs[f"{_key(layer, tensor)}_{part}"]
                    name = f"blk.{layer}.{tensor}.weight.lora_{part}"
                    kept = found.get(name)
                    if kept is None or kept.shape != tuple(own.shape):
                        raise InvalidInput(
                            f"The base version's adapter does not fit its model: '{name}' is "
                            "missing or of another size.",
                            param="base",
                        )
                    own.copy_(torch.from_numpy(kept.astype(np.float32)))


def _rank(tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> int:
    ranks = {one.shape[0] for name, one in tensors.items() if name.endswith("lora_a") and one.ndim}
    return ranks.pop() if len(ranks) == 1 else 0


def _targets(names: Sequence[str]) -> tuple[Projection, ...]:
    return tuple(
        target
        for target in PROJECTIONS
        if any(f".{TENSORS[target]}.weight.lora_a" in name for name in names)
    )


def _key(layer: int, tensor: str) -> str:
    return f"{layer}_{tensor}"


def _size(shape: Shape, target: Projection) -> tuple[int, int]:
    """How much a matrix gives, and takes."""
    wide, narrow = shape.heads * shape.head_size, shape.key_heads * shape.head_size
    sizes: dict[Projection, tuple[int, int]] = {
        "q_proj": (wide, shape.width),
        "k_proj": (narrow, shape.width),
        "v_proj": (narrow, shape.width),
        "o_proj": (shape.width, wide),
        "gate_proj": (shape.inner_width, shape.width),
        "up_proj": (shape.inner_width, shape.width),
        "down_proj": (shape.width, shape.inner_width),
    }
    return sizes[target]
