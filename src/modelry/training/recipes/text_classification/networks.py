"""Networks that score classes of texts: token ids and mask (n, tokens), int64, to logits."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

PAIR_MULTIPLIERS = (0x9E3779B1, 0x85EBCA77)
"""What two neighbours' ids are multiplied by before they are added; odd, so every bit counts."""


class BagNetwork(nn.Module):
    """The mean of the vectors of tokens and of pairs of neighbours, one dense layer.

    As fastText has it (Joulin et al., "Bag of Tricks for Efficient Text Classification", 2016).
    """

    def __init__(
        self, vocabulary: int, classes: int, size: int, pair_buckets: int, dropout: float
    ) -> None:
        super().__init__()
        self.buckets = pair_buckets
        self.tokens = nn.Embedding(vocabulary, size)
        self.pairs = nn.Embedding(pair_buckets, size) if pair_buckets else None
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(size, classes)
        for table in (self.tokens, self.pairs):
            if table is not None:
                nn.init.uniform_(table.weight, -1 / size, 1 / size)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes)."""
        weights = attention_mask.to(torch.float32).unsqueeze(-1)
        total = (self.tokens(input_ids) * weights).sum(1)
        count = weights.sum(1)
        if self.pairs is not None:
            first, second = PAIR_MULTIPLIERS
            mixed = input_ids[:, :-1] * first + input_ids[:, 1:] * second
            bucket = torch.remainder(mixed ^ (mixed >> 15), self.buckets)
            both = weights[:, 1:] * weights[:, :-1]
            total = total + (self.pairs(bucket) * both).sum(1)
            count = count + both.sum(1)
        logits: torch.Tensor = self.dense(self.dropout(total / count))
        return logits


class EncoderBlock(nn.Module):
    """Attention and a feed-forward layer, each normed before (Xiong et al., 2020)."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.together = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.wide, self.narrow = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """States (n, tokens, size) after this block; `bias` (n, 1, 1, tokens) shuts padding out."""
        rows, tokens, size = states.shape
        split = self.together(self.first_norm(states)).view(
            rows, tokens, 3, self.heads, size // self.heads
        )
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        seen = seen.transpose(1, 2).reshape(rows, tokens, size)
        states = states + self.dropout(self.out(seen))
        changed = self.narrow(functional.gelu(self.wide(self.second_norm(states))))
        after: torch.Tensor = states + self.dropout(changed)
        return after


class TransformerNetwork(nn.Module):
    """An encoder (Vaswani et al., 2017) over subwords; the mean of what its tokens end in."""

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        size: int,
        layers: int,
        heads: int,
        max_length: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, size)
        self.places = nn.Embedding(max_length, size)
        self.blocks = nn.ModuleList(EncoderBlock(size, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(size, classes)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=1 / math.sqrt(size))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes)."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        states = self.dropout(self.tokens(input_ids) + self.places(places))
        weights = attention_mask.to(states.dtype)
        bias = (weights - 1.0)[:, None, None, :] * 1e9
        for block in self.blocks:
            states = block(states, bias)
        kept = weights.unsqueeze(-1)
        mean = (self.norm(states) * kept).sum(1) / kept.sum(1)
        logits: torch.Tensor = self.dense(self.dropout(mean))
        return logits
