"""Whether llama.cpp, with the adapter, holds the same tokens for likely as the trained network.

llama.cpp rounds what goes into matrices of few bits, so its likelihoods are a little off in
themselves. How far is measured before training, on the base model without an adapter; the adapter
may add no more than that again. A wrong matrix, scale or position is off by orders more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modelry.domain.errors import Cancelled, NotSupported
from modelry.training.contract import Parity, Run
from modelry.training.recipes.chat.adapters import Adapters
from modelry.training.recipes.chat.decoder import Decoder
from modelry.training.recipes.chat.examples import Conversations, Example
from modelry.training.recipes.chat.serving_engine import Floats, ServingEngine

EXAMPLES = 8
PLACES = 4
"""Tokens of each that are looked at."""
LIKELY = 0.01
"""Tokens that both hold for less likely are not compared: they are never chosen."""
MOST_ROUNDING = 1.0
"""The largest difference of log-probabilities that rounding explains."""
LEAST_TOLERANCE = 0.1
FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """Some tokens, and the one that comes after them in a row."""

    tokens: tuple[int, ...]
    wanted: int


@dataclass(frozen=True, slots=True)
class Network:
    """What was trained; without adapters, what it began from."""

    decoder: Decoder
    adapters: Adapters | None = None

    def log_probabilities(self, tokens: Sequence[int]) -> Floats:
        """Of every token of the vocabulary to come after `tokens`, float32 (vocabulary,)."""
        with torch.no_grad():
            ids = torch.tensor([tokens], device=self.decoder.device)
            hidden = self.decoder.hidden(ids, self.adapters)[0, -1]
            found: Floats = torch.log_softmax(self.decoder.logits(hidden), -1).cpu().numpy()
        return found


def questions_of(conversations: Conversations) -> list[Question]:
    """Places within answers, spread over examples and answers."""
    count = len(conversations)
    chosen = sorted({at * count // EXAMPLES for at in range(EXAMPLES)} if count else ())
    found: list[Question] = []
    for at in chosen:
        one: Example = conversations.examples[at]
        places = np.flatnonzero(one.is_learnt)
        spread = np.unique(np.linspace(0, len(places) - 1, PLACES).astype(np.int64))
        found += [
            Question(tuple(int(id_) for id_ in one.tokens[:place]), int(one.tokens[place]))
            for place in places[spread]
        ]
    return found


def compared(
    questions: Sequence[Question],
    network: Network,
    engine: ServingEngine,
    run: Run,
    tolerance: float = 0.0,
) -> Parity:
    """Ask both.

    Returns:
        The largest differences of log-probabilities, over the tokens that one of them holds for
        likely; the metric is the loss of the rows' own tokens.

    Raises:
        Cancelled: the run was stopped.
    """
    far, relative = 0.0, 0.0
    losses: list[tuple[float, float]] = []
    for done, one in enumerate(questions):
        if run.stop.is_set():
            raise Cancelled("The run was stopped while it compared its likelihoods.")
        run.progress(done, len(questions), "tokens", "comparing with llama.cpp")
        ours = network.log_probabilities(one.tokens)
        theirs = engine.log_probabilities(one.tokens, len(ours))
        apart, ratio = _apart(ours, theirs)
        far, relative = max(far, apart), max(relative, ratio)
        losses.append((-float(ours[one.wanted]), -float(theirs[one.wanted])))
    trained, served = np.mean(losses, axis=0).tolist()
    return Parity(
        rows=len(questions),
        max_abs=far,
        max_rel=relative,
        tolerance=tolerance,
        metric="loss",
        trained_metric=trained,
        exported_metric=served,
    )


def tolerance_after(base: Parity) -> float:
    """How far the model with its adapter may be off, by how far the one without is.

    Raises:
        NotSupported: the network is not computed here as llama.cpp computes it.
    """
    if not base.max_abs <= MOST_ROUNDING:
        raise NotSupported(
            f"This base model is not computed here as llama.cpp computes it: log-probabilities "
            f"differ by up to {base.max_abs:.3g}. No adapter can be trained for it.",
            param="base",
        )
    return max(LEAST_TOLERANCE, FACTOR * base.max_abs)


def _apart(ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Largest absolute and relative difference."""
    likely = np.maximum(ours, theirs) >= np.log(LIKELY)
    if not np.isfinite(ours).all() or not likely.any():
        return float("inf"), float("inf")
    apart = np.abs(ours[likely] - theirs[likely])
    size = np.maximum(np.abs(ours[likely]), np.abs(theirs[likely]))
    return float(apart.max()), float((apart / np.maximum(size, 1e-6)).max())
