"""What the loop needs of this recipe: an optimiser, a loss, and a measure of held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from modelry.training.recipes.seq2seq import Seq2SeqParameters
from modelry.training.recipes.seq2seq.examples import Pair, Pairs
from modelry.training.recipes.seq2seq.network import Transformer, Written

MEASURED_TOKENS = 8192
"""Tokens of a batch that is only measured on."""


def optimiser_of(model: Transformer, parameters: Seq2SeqParameters) -> torch.optim.Optimizer | None:
    """Adam as transformers want it (Vaswani et al., 2017): a shorter memory, decay of matrices."""
    if parameters.optimiser == "sgd":
        return None
    weights = [one for one in model.parameters() if one.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [one for one in weights if one.dim() > 1]},
        {"params": [one for one in weights if one.dim() == 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if parameters.optimiser == "adamw" else torch.optim.Adam
    return kind(
        groups,
        lr=parameters.learning_rate,
        weight_decay=parameters.weight_decay,
        betas=(0.9, 0.98),
        eps=1e-9,
        fused=True,
    )


def loss_of(model: Transformer, pair: Pair, smoothing: float) -> torch.Tensor:
    """Mean over the tokens of a batch."""
    written: Written = model(pair.source, pair.given)
    return written.loss(pair.wanted, model.shape.pad, smoothing)


def measuring(model: Transformer, pairs: Pairs) -> Callable[[], Mapping[str, float]]:
    """Loss and accuracy per token, the right tokens before it given."""
    batches = pairs.plan(MEASURED_TOKENS)(torch.Generator().manual_seed(0))

    def measure() -> Mapping[str, float]:
        total, right, tokens = 0.0, 0, 0
        for places in batches:
            pair = pairs.batch(places)
            counted = pair.wanted != model.shape.pad
            written: Written = model(pair.source, pair.given)
            count = int(counted.sum())
            total += float(written.loss(pair.wanted, model.shape.pad)) * count
            is_right = written.log_probabilities().argmax(-1) == pair.wanted
            right += int((is_right & counted).sum())
            tokens += count
        return {
            "loss": total / tokens,
            "perplexity": math.exp(min(total / tokens, 80.0)),
            "token_accuracy": right / tokens,
        }

    return measure
