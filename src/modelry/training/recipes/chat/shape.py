"""What network a GGUF file describes: of the families that the decoder here computes.

Architectures, their keys and what they mean are llama.cpp's (https://github.com/ggml-org/llama.cpp,
src/models/): the file was written for it, and it will serve the adapter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelry.domain.errors import NotSupported


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between architectures that are otherwise built alike.

    Attributes:
        halves: whether rotary positions turn the halves of a head, not neighbours.
        activation: of the gate.
        has_scaled_embeddings: multiplied by the root of their width.
        plain_layer: every so many layers one has no rotary positions; 0 for none.
        has_multipliers: whether the file may scale embeddings, residuals, attention and logits.
    """

    halves: bool = False
    activation: Literal["silu", "gelu"] = "silu"
    has_scaled_embeddings: bool = False
    plain_layer: int = 0
    has_multipliers: bool = False


FAMILIES: dict[str, Family] = {
    "gemma": Family(halves=True, activation="gelu", has_scaled_embeddings=True),
    "granite": Family(has_multipliers=True),
    "internlm2": Family(),
    "llama": Family(),
    "qwen2": Family(halves=True),
    "qwen3": Family(halves=True),
    "smollm3": Family(plain_layer=4),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes and constants of a network.

    Attributes:
        architecture: as the file calls it.
        family: what it shares with others.
        vocabulary: tokens.
        width: numbers per token.
        inner_width: of the layers between.
        layers: blocks.
        heads: of queries.
        key_heads: of keys and values; divides `heads`.
        head_size: numbers per head.
        epsilon: of the norms.
        context: tokens that it was made for.
        turned: numbers of a head that positions turn.
        base: of their frequencies.
        slowing: what frequencies are divided by.
        embedding_scale: what embeddings are multiplied by.
        attention_scale: what products of queries and keys are multiplied by.
        residual_scale: what a block's parts are multiplied by before they are added.
        logit_scale: what logits are divided by.
    """

    architecture: str
    family: Family
    vocabulary: int
    width: int
    inner_width: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    epsilon: float
    context: int
    turned: int
    base: float
    slowing: float
    embedding_scale: float
    attention_scale: float
    residual_scale: float
    logit_scale: float


def shape_of(metadata: Mapping[str, Any], vocabulary: int) -> Shape:
    """The shape that a file's metadata describe.

    Args:
        metadata: all keys of the file.
        vocabulary: rows of its embeddings.

    Raises:
        NotSupported: it is a network that is not computed here; says which are.
    """
    architecture = str(metadata.get("general.architecture", ""))
    family = FAMILIES.get(architecture)
    if family is None:
        raise NotSupported(
            f"The base model is of the architecture '{architecture[:40]}'; adapters are trained "
            f"for {', '.join(FAMILIES)}.",
            param="base",
        )
    keys = _Keys(metadata, architecture)
    if keys.number("expert_count", 0):
        raise keys.unsupported("it is a mixture of experts")
    kind = metadata.get(f"{architecture}.rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise keys.unsupported(f"its positions are scaled by '{kind}'")
    if architecture == "granite" and not metadata.get("granite.rope.scaling.finetuned", True):
        raise keys.unsupported("it has no rotary positions")
    width, heads = keys.whole("embedding_length"), keys.whole("attention.head_count")
    head_size = keys.whole("attention.key_length", width // heads)
    if keys.whole("attention.value_length", head_size) != head_size:
        raise keys.unsupported("its values are of another size than its keys")
    if width > 2**16 or heads > 2**12 or heads % (keys.whole("attention.head_count_kv", heads)):
        raise keys.unsupported(f"it has {heads} heads and a width of {width}")
    scale = _Scales.of(keys) if family.has_multipliers else _Scales()
    return Shape(
        architecture=architecture,
        family=family,
        vocabulary=vocabulary,
        width=width,
        inner_width=keys.whole("feed_forward_length"),
        layers=keys.whole("block_count"),
        heads=heads,
        key_heads=keys.whole("attention.head_count_kv", heads),
        head_size=head_size,
        epsilon=keys.number("attention.layer_norm_rms_epsilon"),
        context=keys.whole("context_length"),
        turned=keys.whole("rope.dimension_count", head_size),
        base=keys.number("rope.freq_base", 10_000.0),
        slowing=keys.number("rope.scaling.factor", 1.0) if kind == "linear" else 1.0,
        embedding_scale=math.sqrt(width) if family.has_scaled_embeddings else scale.embedding,
        attention_scale=scale.attention or 1 / math.sqrt(head_size),
        residual_scale=scale.residual,
        logit_scale=scale.logit,
    )


@dataclass(frozen=True, slots=True)
class _Keys:
    metadata: Mapping[str, Any]
    architecture: str

    def number(self, key: str, default: float | None = None) -> float:
        found = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            has = "differs from layer to layer" if isinstance(found, list) else "is missing"
            raise self.unsupported(f"its '{key}' {has}")
        return float(found)

    def whole(self, key: str, default: int | None = None) -> int:
        found = self.number(key, default)
        if not found.is_integer() or not 1 <= found < 2**31:
            raise self.unsupported(f"its '{key}' is {found:g}")
        return int(found)

    def unsupported(self, why: str) -> NotSupported:
        return NotSupported(
            f"No adapter can be trained for this base model ({self.architecture}): {why}.",
            param="base",
        )


@dataclass(frozen=True, slots=True)
class _Scales:
    embedding: float = 1.0
    attention: float = 0.0
    residual: float = 1.0
    logit: float = 1.0

    @classmethod
    def of(cls, keys: _Keys) -> _Scales:
        """Zero stands for a multiplier that is not there."""
        return cls(
            keys.number("embedding_scale", 0.0) or 1.0,
            keys.number("attention.scale", 0.0),
            keys.number("residual_scale", 0.0) or 1.0,
            keys.number("logit_scale", 0.0) or 1.0,
        )
