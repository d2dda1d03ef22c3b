"""The base model's network, computed in torch with gradients to its adapters only.

Its own weights are no parameters and in no checkpoint: they are in the base version's file.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from modelry.training.recipes.chat.adapters import Adapters
from modelry.training.recipes.chat.base_file import BaseModel

Tensor = torch.Tensor


class Decoder:
    """A decoder-only transformer with rotary positions, grouped attention and gated layers.

    Args:
        base: the network; its weights are moved.
        device: where it computes.
        half: keep matrices in bfloat16, on a GPU that computes in it.
        recompute: whether gradients compute each layer again instead of keeping what it made.
    """

    def __init__(
        self, base: BaseModel, device: torch.device, *, half: bool = False, recompute: bool = False
    ) -> None:
        self.shape = base.shape
        self.device = device
        self._recompute = recompute
        matrices = torch.bfloat16 if half else torch.float32
        self._weights = {
            name: one.to(device, matrices if one.dim() > 1 else torch.float32)
            for name, one in base.weights.items()
        }
        embeddings = self._weights["token_embd.weight"]
        self._embeddings = embeddings
        self._output = self._weights.get("output.weight", embeddings)
        at = torch.arange(0, self.shape.turned, 2, dtype=torch.float32, device=device)
        frequencies = self.shape.base ** (-at / self.shape.turned) / self.shape.slowing
        factors = self._weights.get("rope_freqs.weight")
        self._frequencies = frequencies if factors is None else frequencies / factors

    def hidden(self, ids: Tensor, adapters: Adapters | None) -> Tensor:
        """What the last layer gives, normed.

        Args:
            ids: tokens, int64 (n, t); rows may be filled up at their ends.
            adapters: added to the matrices; None for the network as it is.

        Returns:
            (n, t, width)
        """
        x = functional.embedding(ids, self._embeddings).float() * self.shape.embedding_scale
        turns = self._turns(ids.shape[1])
        for layer in range(self.shape.layers):
            if self._recompute and torch.is_grad_enabled():
                x = checkpoint(self._layer, x, layer, turns, adapters, use_reentrant=False)
            else:
                x = self._layer(x, layer, turns, adapters)
        return self._norm(x, "output_norm.weight")

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., vocabulary) float32, of (..., width)."""
        found = functional.linear(hidden.to(self._output.dtype), self._output)
        return found.float() / self.shape.logit_scale

    def _layer(
        self, x: Tensor, layer: int, turns: tuple[Tensor, Tensor], adapters: Adapters | None
    ) -> Tensor:
        scale = self.shape.residual_scale
        x = x + scale * self._attention(x, layer, turns, adapters)
        inner = self._norm(x, f"blk.{layer}.ffn_norm.weight")
        gate = self._linear(inner, layer, "ffn_gate", adapters)
        if self.shape.family.activation == "gelu":
            gate = functional.gelu(gate, approximate="tanh")
        else:
            gate = functional.silu(gate)
        up = self._linear(inner, layer, "ffn_up", adapters)
        return x + scale * self._linear(gate * up, layer, "ffn_down", adapters)

    def _attention(
        self, x: Tensor, layer: int, turns: tuple[Tensor, Tensor], adapters: Adapters | None
    ) -> Tensor:
        shape = self.shape
        n, t, _ = x.shape
        normed = self._norm(x, f"blk.{layer}.attn_norm.weight")
        queries, keys, values = (
            self._linear(normed, layer, name, adapters)
            .view(n, t, heads, shape.head_size)
            .transpose(1, 2)
            for name, heads in (
                ("attn_q", shape.heads),
                ("attn_k", shape.key_heads),
                ("attn_v", shape.key_heads),
            )
        )
        queries = self._head_norm(queries, f"blk.{layer}.attn_q_norm.weight")
        keys = self._head_norm(keys, f"blk.{layer}.attn_k_norm.weight")
        every = shape.family.plain_layer
        if not every or (layer + 1) % every:
            queries, keys = self._turned(queries, turns), self._turned(keys, turns)
        if shape.heads != shape.key_heads:
            groups = shape.heads // shape.key_heads
            keys = keys.repeat_interleave(groups, dim=1)
            values = values.repeat_interleave(groups, dim=1)
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys.to(queries.dtype),
            values.to(queries.dtype),
            is_causal=True,
            scale=shape.attention_scale,
        )
        mixed = mixed.transpose(1, 2).reshape(n, t, shape.heads * shape.head_size)
        return self._linear(mixed, layer, "attn_output", adapters)

    def _linear(self, x: Tensor, layer: int, name: str, adapters: Adapters | None) -> Tensor:
        place = f"blk.{layer}.{name}"
        weight = self._weights[f"{place}.weight"]
        found = functional.linear(x.to(weight.dtype), weight)
        bias = self._weights.get(f"{place}.bias")
        if bias is not None:
            found = found + bias
        if adapters is None:
            return found
        added = adapters.added(layer, name, x)
        return found if added is None else found + added

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """Zhang and Sennrich, 2019: no mean is taken off."""
        x = x.float()
        root = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.shape.epsilon)
        return x * root * self._weights[name]

    def _head_norm(self, x: Tensor, name: str) -> Tensor:
        return self._norm(x, name).to(x.dtype) if name in self._weights else x

    def _turns(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (t, turned / 2) each."""
        at = torch.arange(length, dtype=torch.float32, device=self.device)
        angles = torch.outer(at, self._frequencies)
        return angles.cos(), angles.sin()

    def _turned(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Su et al., 2021; the numbers of a pair are neighbours, or one of each half."""
        cos, sin = turns
        part, rest = x[..., : self.shape.turned], x[..., self.shape.turned :]
        if self.shape.family.halves:
            one, other = part.float().chunk(2, dim=-1)
            mixed = torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)
        else:
            one, other = part[..., 0::2].float(), part[..., 1::2].float()
            pairs = torch.stack([one * cos - other * sin, other * cos + one * sin], dim=-1)
            mixed = pairs.flatten(-2)
        return torch.cat([mixed.to(x.dtype), rest], dim=-1)
