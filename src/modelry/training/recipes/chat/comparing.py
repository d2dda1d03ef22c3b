"""Whether llama.cpp, with the adapter, answers as the trained network would.

llama.cpp rounds what goes into matrices of few bits, so its probabilities are a little off in
themselves. How far is measured before training, on the base model without an adapter; the adapter
may add as much again. A wrong matrix, scale or position is off by far more.
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
from modelry.training.recipes.chat.examples import Conversations
from modelry.training.recipes.chat.serving_engine import Floats, Likeliest, ServingEngine

EXAMPLES = 8
PLACES = 4
"""Tokens of each that are looked at."""
MOST_ROUNDING = 0.25
"""The largest distance that rounding explains."""
LEAST_TOLERANCE = 0.05
FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """A row's tokens, and places of some of its answers' tokens, in order, none of them the first:
    what comes after the tokens before each?
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """What was trained; without adapters, what it began from."""

    decoder: Decoder
    adapters: Adapters | None = None

    def log_probabilities(self, question: Question) -> Floats:
        """Of every token to come at each place, float32 (places, vocabulary)."""
        before = torch.tensor(question.places, device=self.decoder.device) - 1
        with torch.no_grad():
            ids = torch.tensor([question.tokens[: question.places[-1]]], device=before.device)
            hidden = self.decoder.hidden(ids, self.adapters)[0, before]
            found: Floats = torch.log_softmax(self.decoder.logits(hidden), -1).cpu().numpy()
        return found


def questions_of(conversations: Conversations) -> list[Question]:
    """Places within answers, spread over examples and answers."""
    count = len(conversations)
    found: list[Question] = []
    for at in sorted({at * count // EXAMPLES for at in range(EXAMPLES)} if count else ()):
        one = conversations.examples[at]
        places = np.flatnonzero(one.is_learnt)
        spread = np.unique(np.linspace(0, len(places) - 1, PLACES).astype(np.int64))
        found.append(Question(tuple(one.tokens.tolist()), tuple(places[spread].tolist())))
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
        As largest difference, the largest share of probability that one gives to other tokens
        (total variation distance); as relative one, that of a row's own token; the metric is the
        loss of the rows' own tokens.

    Raises:
        Cancelled: the run was stopped.
    """
    told: list[tuple[float, float, float, float]] = []
    for done, one in enumerate(questions):
        run.progress(done, len(questions), "rows", "comparing with llama.cpp")
        for place, ours in zip(one.places, network.log_probabilities(one), strict=True):
            if run.stop.is_set():
                raise Cancelled("The run was stopped while it compared its likelihoods.")
            theirs = engine.likeliest(one.tokens[:place], len(ours))
            told.append((_distance(ours, theirs), *_own(one.tokens[place], ours, theirs)))
    far, relative, trained, served = (list(column) for column in zip(*told, strict=True))
    return Parity(
        rows=len(told),
        max_abs=max(far),
        max_rel=max(relative),
        tolerance=tolerance,
        metric="loss",
        trained_metric=float(np.mean(trained)),
        exported_metric=float(np.mean(served)),
    )


def tolerance_after(base: Parity) -> float:
    """How far the model with its adapter may be off, by how far the one without is.

    Raises:
        NotSupported: the network is not computed here as llama.cpp computes it.
    """
    if not base.max_abs <= MOST_ROUNDING:
        raise NotSupported(
            f"This base model is not computed here as llama.cpp computes it: up to "
            f"{100 * base.max_abs:.0f} % of the probability goes to other tokens. No adapter can "
            "be trained for it.",
            param="base",
        )
    return max(LEAST_TOLERANCE, FACTOR * base.max_abs)


def _distance(ours: Floats, theirs: Likeliest) -> float:
    """The share of probability that is elsewhere; tokens that are not told count as one."""
    here = np.exp(ours[theirs.ids].astype(np.float64))
    there = np.exp(theirs.log_probabilities.astype(np.float64))
    if not np.isfinite(ours).all():
        return float("inf")
    apart = np.abs(here - there).sum() + abs(here.sum() - there.sum())
    return float(apart / 2)


def _own(token: int, ours: Floats, theirs: Likeliest) -> tuple[float, float, float]:
    """The relative difference of a token's probabilities, and both losses."""
    place = np.flatnonzero(theirs.ids == token)
    told = theirs.log_probabilities
    there = float(told[place[0]]) if len(place) else float(told.min())
    here = float(ours[token])
    return 1 - float(np.exp(-abs(here - there))), -here, -there
