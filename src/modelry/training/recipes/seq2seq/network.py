"""The transformer: an encoder that reads a text, a decoder that writes one, one table of tokens.

After Vaswani et al., "Attention Is All You Need" (2017), with normalisation before each layer
(Xiong et al., 2020) and input and output sharing the table (Press and Wolf, 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LEAST = 1e-9
"""Added to probabilities before their logarithm is taken."""
SHARPEST = 16.0
"""The largest score of a token to be copied: bounded, as scores of any size make rounding errors of
any size (Henry et al., "Query-Key Normalization for Transformers", 2020)."""
TINY = 1e-6
"""Added to squares before their root divides."""
USUALLY_WRITES = -2.0
"""Log-odds of copying before anything is learnt."""


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
    copies: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    token_dropout: float = 0.0

    @property
    def head_size(self) -> int:
        """Numbers of one head."""
        return self.width // self.heads


class Dropout(nn.Module):
    """Leaves numbers out at random.

    On a CPU torch draws each number by itself, which took a fifth of a step; bits of numpy's SFC64
    take a tenth of that. Its seed comes from torch's generator, which the loop seeds for each step.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """The same shape; what stays is made larger by as much as is left out."""
        if not self.training or not self.share:
            return given
        if given.device.type != "cpu":
            return functional.dropout(given, self.share)
        seed = int(torch.randint(2**62, ()))
        bits = np.random.Generator(np.random.SFC64(seed)).bytes(2 * given.numel())
        drawn = torch.from_numpy(np.frombuffer(bits, np.int16).copy()).view(given.shape)
        stays = drawn >= round(self.share * 2**16) - 2**15
        return given * (stays * (1 / (1 - self.share))).to(given.dtype)


class Attention(nn.Module):
    """Attention of several heads; queries from one side, keys and values from another."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.dropout = Dropout(shape.attention_dropout)
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
        # torch's fused attention is several times slower on a CPU where texts are short
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        shares = torch.softmax(scores.float().masked_fill(~mask, -math.inf), -1)
        found = self.dropout(shares).to(value.dtype) @ value
        out: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out


class Inner(nn.Module):
    """Two layers for each token by itself."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.width, shape.inner_width)
        self.down = nn.Linear(shape.inner_width, shape.width)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """(…, width) to the same."""
        found: torch.Tensor = self.down(torch.relu(self.up(given)))
        return found


class EncoderLayer(nn.Module):
    """Attention to the text itself, then the inner layers."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(shape.width), Attention(shape)
        self.inner_norm, self.inner = nn.LayerNorm(shape.width), Inner(shape)
        self.dropout = Dropout(shape.dropout)

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
        self.dropout = Dropout(shape.dropout)

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


class Copying(nn.Module):
    """Chooses between a token of the vocabulary and one of the text (See et al., 2017)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.gate = nn.Linear(shape.width, 1)

    def forward(
        self, states: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the text's tokens would be copied, and whether one is.

        Args:
            states: (n, t, width), what the decoder made.
            memory: (n, s, width), what the encoder made.
            mask: (n, 1, s), True where there is a token.

        Returns:
            (n, t, s) chances of the text's tokens, and (n, t) the log-odds of copying.
        """
        query, key = (_unit(one.float()) for one in (self.query(states), self.key(memory)))
        scores = query @ key.transpose(1, 2) * SHARPEST
        shares = torch.softmax(scores.masked_fill(~mask, -math.inf), -1)
        return shares, self.gate(states).squeeze(-1).float()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (…, width) of about length 1."""
    found: torch.Tensor = vectors / torch.sqrt((vectors * vectors).sum(-1, keepdim=True) + TINY)
    return found


class Written(NamedTuple):
    """What the network says of the token after each of some tokens.

    Attributes:
        logits: (n, t, vocabulary) of the vocabulary's tokens.
        source: (n, s) the tokens of each text.
        shares: (n, t, s) chances of these to be the one that is copied; None if none can be.
        gate: (n, t) log-odds of copying.
    """

    logits: torch.Tensor
    source: torch.Tensor
    shares: torch.Tensor | None
    gate: torch.Tensor | None

    def loss(self, wanted: torch.Tensor, pad: int, smoothing: float = 0.0) -> torch.Tensor:
        """Mean negative log-likelihood of tokens, with label smoothing over the vocabulary.

        Args:
            wanted: (n, t).
            pad: stands for no token in `wanted`.
            smoothing: the share of certainty that all tokens share.
        """
        whole = torch.logsumexp(self.logits, -1)
        right = self.logits.gather(-1, wanted[..., None]).squeeze(-1) - whole
        if self.shares is not None and self.gate is not None:
            is_right = self.source[:, None, :] == wanted[..., None]
            share = (self.shares * is_right).sum(-1)
            right = torch.logaddexp(
                functional.logsigmoid(-self.gate) + right,
                functional.logsigmoid(self.gate) + torch.log(share + LEAST),
            )
        losses = -right
        if smoothing:
            losses = (1 - smoothing) * losses + smoothing * (whole - self.logits.mean(-1))
        counted = wanted != pad
        return (losses * counted).sum() / counted.sum()

    def log_probabilities(self) -> torch.Tensor:
        """(n, t, vocabulary), of writing and of copying each token together."""
        if self.shares is None or self.gate is None:
            return torch.log_softmax(self.logits, -1)
        gate = torch.sigmoid(self.gate)[..., None]
        # not 1 - gate, which is all rounding error where the gate is close to 1
        chances = torch.softmax(self.logits, -1) * torch.sigmoid(-self.gate)[..., None]
        source = self.source[:, None, :].expand_as(self.shares)
        return torch.log(chances.scatter_add(-1, source, self.shares * gate) + LEAST)


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
        self.copy = Copying(shape) if shape.copies else None
        self.dropout = Dropout(shape.dropout)
        self._begin()

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> Written:
        """What is to be written after each token of `target`.

        Args:
            source: (n, s) token ids, filled up with the pad token; likewise `target`.
            target: (n, t), what is written so far, from the start token on.
        """
        mask = (source != self.shape.pad)[:, None, :]
        memory = self.embed(source)
        for layer in self.encoder:
            memory = layer(memory, mask[:, None])
        memory = self.encoder_norm(memory)
        length = target.shape[1]
        # fillings are at the end, where no token looks before its own place
        own_mask = torch.ones(length, length, dtype=torch.bool, device=target.device).tril()
        states = self.embed(target)
        for layer in self.decoder:
            states = layer(states, own_mask, memory, mask[:, None])
        states = self.decoder_norm(states)
        logits = functional.linear(states, self.table.weight).float()
        if self.copy is None:
            return Written(logits, source, None, None)
        return Written(logits, source, *self.copy(states, memory, mask))

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (n, t) with their places, as (n, t, width)."""
        vectors = self.table(tokens) * math.sqrt(self.shape.width)
        if self.training and self.shape.token_dropout:
            # whole tokens are left out, and the others not made larger (Gal and Ghahramani, 2016)
            chance = torch.rand(*tokens.shape, 1, device=tokens.device)
            vectors = vectors * (chance >= self.shape.token_dropout)
        found: torch.Tensor = self.dropout(vectors + self.places[: tokens.shape[1]])
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
            if self.copy is not None:
                self.copy.gate.bias.fill_(USUALLY_WRITES)


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Waves that tell places apart, (positions, width) float32."""
    place = torch.arange(positions, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(1e4) / width))
    table = torch.zeros(positions, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(place * rate)
    table[:, 1::2] = torch.cos(place * rate)[:, : width // 2]
    return table.float()
