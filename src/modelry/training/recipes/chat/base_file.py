"""The base version's GGUF file: its network and its weights, in full precision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from modelry.domain.errors import Cancelled, ModelFailed, NotSupported
from modelry.training.contract import Run
from modelry.training.recipes.chat.shape import Shape, shape_of

_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_EMBEDDINGS, _OUTPUT, _OUTPUT_NORM = "token_embd.weight", "output.weight", "output_norm.weight"
_TURNS = "rope_freqs.weight"
_ENDS = ("eos", "eot", "eom")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A network as its file has it, float32; names are the file's.

    Attributes:
        shape: sizes and constants.
        weights: all tensors, `(out, in)` where they are matrices.
        ends: tokens that end an answer, the usual one first.
    """

    shape: Shape
    weights: Mapping[str, torch.Tensor]
    ends: tuple[int, ...]


def read_base(path: Path, run: Run) -> BaseModel:
    """The network in a GGUF file.

    Raises:
        NotSupported: it is one that is not computed here, or quantised in an unknown way.
        ModelFailed: the file is damaged.
        Cancelled: the run was stopped.
    """
    reader = opened(path)
    metadata = metadata_of(reader)
    tensors = {one.name: one for one in reader.tensors}
    if _EMBEDDINGS not in tensors:
        raise ModelFailed("The base model's file has no token embeddings; is it a language model?")
    shape = shape_of(metadata, int(tensors[_EMBEDDINGS].shape[1]))
    wanted = _sizes(shape, tensors)
    weights: dict[str, torch.Tensor] = {}
    for done, (name, size) in enumerate(wanted.items()):
        if run.stop.is_set():
            raise Cancelled("The run was stopped while it read the base model.")
        run.progress(done, len(wanted), "tensors", "reading the base model")
        weights[name] = _weights(tensors[name], size)
    return BaseModel(shape, weights, _ends(metadata))


def opened(path: Path) -> Any:
    """A reader of a GGUF file.

    Raises:
        ModelFailed: the file is damaged.
    """
    try:
        return gguf.GGUFReader(path.readlink() if path.is_symlink() else path)
    except Exception as error:  # noqa: BLE001 - whatever numpy makes of a damaged file
        raise ModelFailed(
            f"A GGUF file of the base version cannot be read ({type(error).__name__})."
        ) from None


def metadata_of(reader: Any) -> dict[str, Any]:
    """All keys but the long lists of the tokenizer."""
    return {
        name: field.contents()
        for name, field in reader.fields.items()
        if not (name.startswith("tokenizer.") and gguf.GGUFValueType.ARRAY in field.types)
    }


def _sizes(shape: Shape, tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors that the network has, and how large each is.

    Raises:
        NotSupported: the file has others, which would be left out of the computation.
        ModelFailed: it lacks one.
    """
    wide, narrow = shape.heads * shape.head_size, shape.key_heads * shape.head_size
    width, inner = shape.width, shape.inner_width
    needed: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (width,),
        "attn_q.weight": (wide, width),
        "attn_k.weight": (narrow, width),
        "attn_v.weight": (narrow, width),
        "attn_output.weight": (width, wide),
        "ffn_norm.weight": (width,),
        "ffn_gate.weight": (inner, width),
        "ffn_up.weight": (inner, width),
        "ffn_down.weight": (width, inner),
    }
    possible: dict[str, tuple[int, ...]] = {
        **{name.replace("weight", "bias"): size[:1] for name, size in needed.items()},
        "attn_q_norm.weight": (shape.head_size,),
        "attn_k_norm.weight": (shape.head_size,),
    }
    sizes: dict[str, tuple[int, ...]] = {
        _EMBEDDINGS: (shape.vocabulary, width),
        _OUTPUT_NORM: (width,),
        **{f"blk.{at}.{name}": size for at in range(shape.layers) for name, size in needed.items()},
    }
    missing = [name for name in sizes if name not in tensors]
    if missing:
        raise ModelFailed(f"The base model's file has no tensor '{missing[0]}'; it is damaged.")
    for name in tensors:
        found = _BLOCK.fullmatch(name)
        if name in sizes:
            continue
        if name == _OUTPUT:
            sizes[name] = (shape.vocabulary, width)
        elif name == _TURNS:
            sizes[name] = (shape.turned // 2,)
        elif found and int(found[1]) < shape.layers and f"{found[2]}.{found[3]}" in possible:
            sizes[name] = possible[f"{found[2]}.{found[3]}"]
        else:
            raise NotSupported(
                f"The base model has a tensor '{name[:80]}', which networks of the architecture "
                f"'{shape.architecture}' do not have here; no adapter can be trained for it.",
                param="base",
            )
    return sizes


def _weights(tensor: Any, size: tuple[int, ...]) -> torch.Tensor:
    if tuple(int(one) for one in reversed(tensor.shape)) != size:
        raise ModelFailed(
            f"Tensor '{tensor.name}' of the base model has the shape "
            f"{[int(one) for one in reversed(tensor.shape)]}; expected {list(size)}."
        )
    try:
        found = gguf.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise NotSupported(
            f"Tensor '{tensor.name}' of the base model is quantised as {tensor.tensor_type.name}, "
            "which is not read here; take a file in Q8_0, Q4_K_M or F16.",
            param="base",
        ) from None
    return torch.from_numpy(np.array(found, np.float32).reshape(size))


def _ends(metadata: Mapping[str, Any]) -> tuple[int, ...]:
    found = [metadata.get(f"tokenizer.ggml.{one}_token_id") for one in _ENDS]
    ends = tuple(dict.fromkeys(one for one in found if isinstance(one, int) and one >= 0))
    if not ends:
        raise ModelFailed("The base model's file names no token that ends an answer.")
    return ends
