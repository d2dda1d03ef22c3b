"""The transformer: an encoder that reads a text, a decoder that writes one, one table of tokens.

After Vaswani et al., "Attention Is All You Need" (2017), with normalisation before each layer
(Xiong et al., 2020) and input and output sharing the table (Press and Wolf, 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; see `Seq2SeqParameters`."""

    vocabulary: int
    pad: int
    width: int
    heads: int
    inner_width: int
    encoder_layers: int
    decoder_layers: int
    positions: int
    dropout: float = 0.0

    @property
    def head_size(self) -> int:
        """Numbers of one head."""
        return self.width // self.heads


class Attention(nn.Module):
    """Attention of several heads; queries from one side, keys and values from another."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.dropout = shape.dropout
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(
        self, given: torch.Tensor, looked_at: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Attend.

        Args:
            given: (n, t, width).
            looked_at: (n, s, width).
            mask: True where it may look; broadcast to (n, heads, t, s).
        """
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(given), self.key(looked_at), self.value(looked_at))
        )
        found = functional.scaled_dot_product_attention(
            query, key, value, mask, self.dropout if self.training else 0.0
        )
        out: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out


class Inner(nn.Module):
    """Two layers for each token by itself."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.width, shape.inner_width)
        self.down = nn.Linear(shape.inner_width, shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """(…, width) to the same."""
        found: torch.Tensor = self.down(self.dropout(torch.relu(self.up(given))))
        return found


class EncoderLayer(nn.Module):
    """Attention to the text itself, then the inner layers."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(shape.width), Attention(shape)
        self.inner_norm, self.inner = nn.LayerNorm(shape.width), Inner(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(n, s, width) to the same."""
        normed = self.own_norm(text)
        text = text + self.dropout(self.own(normed, normed, mask))
        found: torch.Tensor = text + self.dropout(self.inner(self.inner_norm(text)))
        return found


class DecoderLayer(nn.Module):
    """Attention to what is written, to what was read, then the inner layers."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(shape.width), Attention(shape)
        self.memory_norm, self.memory = nn.LayerNorm(shape.width), Attention(shape)
        self.inner_norm, self.inner = nn.LayerNorm(shape.width), Inner(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self,
        text: torch.Tensor,
        own_mask: torch.Tensor,
        memory: torch.Tensor,
        memory_mask: torch.Tensor,
    ) -> torch.Tensor:
        """(n, t, width) to the same."""
        normed = self.own_norm(text)
        text = text + self.dropout(self.own(normed, normed, own_mask))
        text = text + self.dropout(self.memory(self.memory_norm(text), memory, memory_mask))
        found: torch.Tensor = text + self.dropout(self.inner(self.inner_norm(text)))
        return found


class Transformer(nn.Module):
    """The whole network."""

    places: torch.Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(shape.vocabulary, shape.width, padding_idx=shape.pad)
        self.register_buffer("places", sinusoids(shape.positions, shape.width), persistent=False)
        self.encoder = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.encoder_layers))
        self.encoder_norm = nn.LayerNorm(shape.width)
        self.decoder = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.decoder_layers))
        self.decoder_norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self._begin()

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits (n, t, vocabulary) of the token after each of `target` (n, t).

        Args:
            source: (n, s) token ids, filled up with the pad token; likewise `target`.
            target: what is written so far, from the start token on.
        """
        source_mask = (source != self.shape.pad)[:, None, None, :]
        memory = self.embed(source)
        for layer in self.encoder:
            memory = layer(memory, source_mask)
        memory = self.encoder_norm(memory)
        length = target.shape[1]
        # fillings are at the end, where no token looks before its own place
        own_mask = torch.ones(length, length, dtype=torch.bool, device=target.device).tril()
        text = self.embed(target)
        for layer in self.decoder:
            text = layer(text, own_mask, memory, source_mask)
        return functional.linear(self.decoder_norm(text), self.table.weight)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (n, t) with their places, as (n, t, width)."""
        scale = math.sqrt(self.shape.width)
        found: torch.Tensor = self.dropout(
            self.table(tokens) * scale + self.places[: tokens.shape[1]]
        )
        return found

    def _begin(self) -> None:
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and name != "table.weight":
                nn.init.xavier_uniform_(weight)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        nn.init.normal_(self.table.weight, std=self.shape.width**-0.5)
        with torch.no_grad():
            self.table.weight[self.shape.pad].zero_()


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Waves that tell places apart, (positions, width) float32."""
    place = torch.arange(positions, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(1e4) / width))
    table = torch.zeros(positions, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(place * rate)
    table[:, 1::2] = torch.cos(place * rate)[:, : width // 2]
    return table.float()
