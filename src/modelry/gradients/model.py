"""The methods that follow gradients, for one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelry.domain.signature import Datatype, Signature
from modelry.explaining.asking import Run
from modelry.explaining.contract import Attribution, Method, Scores, Wish
from modelry.explaining.images import ImageParts
from modelry.explaining.tables import RowParts
from modelry.explaining.texts import TextParts
from modelry.gradients.contract import GRAD_CAM, INTEGRATED_GRADIENTS
from modelry.gradients.grad_cam import GradCam
from modelry.gradients.integral import MOST_AT_ONCE, Integral, Way, integrated
from modelry.gradients.lookups import Lookups
from modelry.gradients.parity import distance
from modelry.gradients.scores import SOFTMAX, score_steps
from modelry.gradients.tokens import by_column, by_word, places_of
from modelry.gradients.twin import Scored, Twin, as_tensor, no_twin
from modelry.processing.casting import from_output
from modelry.processing.steps.text import MEANINGS
from modelry.processing.text_encoder import TextEncoder
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.tasks.prediction import Prepared


class Network:
    """What a version's gradients are followed through; made once, for any number of questions.

    Args:
        content: its ONNX file.
        post: its steps after the engine.
        signature: of its engine.
        encoder: its tokenizer, for versions that take texts.

    Raises:
        NotSupported: it has no twin; says why.
    """

    def __init__(
        self,
        content: bytes,
        post: Sequence[Mapping[str, Any]],
        signature: Signature,
        encoder: TextEncoder | None = None,
    ) -> None:
        halves = [one.name for one in signature.inputs if one.datatype is Datatype.BF16]
        if halves:
            raise no_twin(f"its input '{halves[0]}' takes numbers of type BF16.")
        self.twin = Twin(content)
        self.steps = score_steps(post, [one.name for one in signature.outputs])
        self.is_batched = signature.batched
        self.encoder = encoder
        self.grad_cam = GradCam(self.twin, self._scored(), self.steps.output)
        self._lookups: dict[tuple[str, ...], Lookups] = {}

    def _scored(self) -> Scored:
        """The tensor whose numbers classes are told apart by, before a softmax or sigmoid."""
        steps = self.steps
        if steps.activations:
            return Scored(steps.output, before_softmax=steps.activations[0] == SOFTMAX)
        return self.twin.scored(steps.output)

    def lookups(self, inputs: Sequence[str]) -> Lookups:
        """What it looks up by some of its inputs on the way to its scores."""
        found = self._lookups.get(tuple(inputs))
        if found is None:
            found = Lookups(self.twin, [self.steps.output], inputs)
            self._lookups[tuple(inputs)] = found
        return found


@dataclass(frozen=True, slots=True)
class Question:
    """What is explained.

    Attributes:
        item: the input.
        run: asks the engine that serves the version.
        stop: ends it early.
    """

    item: Mapping[str, Any]
    run: Run
    stop: StopSignal


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gives the methods for a question; see `explaining.asking.MoreMethods`."""

    network: Network
    question: Question

    def __call__(self, kind: str, prepared: Prepared, index: int) -> Mapping[str, Method]:
        """The methods for an input of this kind."""
        one = _OneInput(self.network, self.question, prepared, index)
        match kind:
            case "image":
                return {GRAD_CAM: one.grad_cam, INTEGRATED_GRADIENTS: one.of_image}
            case "text":
                return {INTEGRATED_GRADIENTS: one.of_text}
            case _:
                return {INTEGRATED_GRADIENTS: one.of_row}


class _OneInput:
    def __init__(
        self, network: Network, question: Question, prepared: Prepared, index: int
    ) -> None:
        self._network = network
        self._question = question
        self._twin = network.twin
        self._steps = network.steps
        self._prepared = prepared
        self._index = index
        self._parity: float | None = None

    # ---- the methods ------------------------------------------------------------------------

    def grad_cam(self, scores: Scores, parts: ImageParts, wish: Wish) -> Attribution:
        """See `grad_cam.GradCam`; a cell's weight is the mean of the map over it."""
        del scores, wish
        inputs = _full(parts)
        self._twin.check([self._steps.output], inputs)
        heat = self._network.grad_cam.heat(inputs, self._index, parts.size)
        parity = self._compared(heat.output)
        weights = parts.by_cell(heat.pixels) / parts.by_cell(np.ones(parts.size))
        told = {"layer": heat.layer, "places": list(heat.places), "parity": parity}
        remark = "" if weights.any() else "Nothing in its last maps of features speaks for this."
        return Attribution(weights, {"gradients": 1, **told}, remark=remark)

    def of_image(self, scores: Scores, parts: ImageParts, wish: Wish) -> Attribution:
        """Integrated gradients from the image's mean colour on; sums over cells."""
        parity = self._checked({})
        both = _floats(parts.inputs(np.stack([np.zeros(parts.count), np.ones(parts.count)])))
        way = Way(
            {name: one[:1] for name, one in both.items()},
            {name: one[1:] for name, one in both.items()},
            {},
            self._at_once,
            lambda shares: {"cells": parts.gathered(shares)},
        )
        found = self._integrated(way, wish)
        self._check_ends(found, scores, parts.count)
        return _told(found.shares["cells"][0], found, parity)

    def of_row(self, scores: Scores, parts: RowParts, wish: Wish) -> Attribution:
        """Integrated gradients from each background row on; their mean."""
        ends = np.stack([np.zeros(parts.count), np.ones(parts.count)])
        both, rows = parts.inputs(ends), parts.repeats
        base = {name: one[:rows] for name, one in both.items()}
        full = {name: one[rows:] for name, one in both.items()}
        _check_cells(base, full)
        lookups = self._network.lookups(list(full))
        parity = self._checked(lookups.of(self._prepared.inputs))
        moving = [name for name, one in full.items() if one.dtype.kind == "f"]
        seen_base, seen_full = lookups.of(base), lookups.of(full)
        way = Way(
            {**{name: base[name] for name in moving}, **seen_base},
            {**{name: full[name] for name in moving}, **seen_full},
            {name: one for name, one in full.items() if name not in moving},
            self._at_once,
        )
        if not way.full:
            raise no_twin("its inputs are whole numbers that it looks nothing up by.")
        found = self._integrated(way, wish)
        self._check_ends(found, scores, parts.count)
        means = {name: one.mean(axis=0, keepdims=True) for name, one in found.shares.items()}
        weights = parts.gathered({name: means[name] for name in moving})
        for name in lookups.names:
            owners = _owners(lookups, name, parts, seen_base[name])
            weights += owners * float(means[name].sum())
        return _told(weights, found, parity)

    def of_text(self, scores: Scores, parts: TextParts, wish: Wish) -> Attribution:
        """Integrated gradients on the vectors of tokens; sums over words."""
        del scores
        inputs = self._prepared.inputs
        name = _ids(inputs)
        encoder = self._network.encoder
        assert encoder is not None, "versions that take texts have a tokenizer"
        item = self._question.item
        text = item["text"]
        pair = (text, item["text_pair"]) if item.get("text_pair") is not None else text
        mask = self._prepared.context.mask
        ids = inputs[name]
        columns, places = places_of(
            encoder, pair, np.ones(ids.shape[1]) if mask is None else mask[0]
        )
        stand_in = encoder.stand_in()
        blank = ids.copy()
        blank[0, [at for at, place in zip(columns, places, strict=True) if place]] = stand_in
        lookups = self._network.lookups([name])
        if not lookups.names:
            raise no_twin("it looks up no vectors for tokens.")
        full = lookups.of(inputs)
        parity = self._checked(full)
        base = lookups.of({**inputs, name: blank})
        way = Way(base, full, dict(inputs), self._at_once, _of_vectors)
        found = self._integrated(way, wish)
        shares = sum(by_column(one, ids.shape[1]) for one in found.shares.values())
        weights = by_word(np.asarray(shares), columns, places, parts.words)
        token = encoder.tokenizer.id_to_token(stand_in)
        return _told(weights, found, parity, f"the token {token} in the place of each other")

    # ---- what they share --------------------------------------------------------------------

    @property
    def _at_once(self) -> int:
        return MOST_AT_ONCE if self._network.is_batched else 1

    def _integrated(self, way: Way, wish: Wish) -> Integral:
        return integrated(self._score, way, wish.calls, self._question.stop, wish.course)

    def _score(self, held: Mapping[str, Tensor]) -> Tensor:
        (output,) = self._twin.run([self._steps.output], held)
        return self._steps.of(output)[:, self._index]

    def _checked(self, looked_up: Mapping[str, Array]) -> float:
        """How far the twin lies from the engine on this very input.

        Raises:
            NotSupported: it has an operator without gradients, or answers otherwise.
        """
        if self._parity is not None:
            return self._parity
        held = {**self._prepared.inputs, **looked_up}
        self._twin.check([self._steps.output], held)
        tensors = {name: as_tensor(one) for name, one in held.items()}
        with torch.no_grad():
            (output,) = self._twin.run([self._steps.output], tensors)
        return self._compared(output.numpy())

    def _compared(self, output: Array) -> float:
        """How far what the twin made of this very input lies from what the engine did."""
        if self._parity is None:
            served = self._question.run(self._prepared.inputs, 1)[self._steps.output]
            self._parity = round(distance(output, from_output(served, None)), 9)
        return self._parity

    def _check_ends(self, found: Integral, scores: Scores, count: int) -> None:
        """See that both ends of the way score as the engine and the version's steps say."""
        served = scores(np.stack([np.zeros(count), np.ones(count)]))
        distance(np.array([found.start.mean(), found.end.mean()]), served)


def _told(weights: Array, found: Integral, parity: float, baseline: str = "") -> Attribution:
    told = {
        "points": found.points,
        "gradients": found.gradients,
        "completeness": {
            "sum": found.sum,
            "difference": found.difference,
            "gap": found.gap,
            "is_met": found.is_complete,
        },
        "parity": parity,
    }
    remark = ""
    if not found.is_complete:
        remark = (
            f"Its weights add up to {found.sum:.3g} of a difference of {found.difference:.3g}: a "
            "part of what the model does has no gradient."
        )
    return Attribution(weights, told, baseline, remark=remark)


def _of_vectors(shares: Mapping[str, Array]) -> Mapping[str, Array]:
    """Sums over the numbers of each vector (n, …, size)."""
    return {name: one.sum(axis=-1, keepdims=True) for name, one in shares.items()}


def _full(parts: ImageParts) -> Mapping[str, Array]:
    return parts.inputs(np.ones((1, parts.count)))


def _floats(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays as floats, which gradients can be of."""
    return {
        name: one if one.dtype == np.float64 else one.astype(np.float32)
        for name, one in arrays.items()
    }


def _ids(inputs: Mapping[str, Array]) -> str:
    """The input with the tokens' numbers."""
    if len(inputs) == 1:
        return next(iter(inputs))
    return next(name for name in inputs if MEANINGS.get(name) == "ids")


def _check_cells(base: Mapping[str, Array], full: Mapping[str, Array]) -> None:
    """Refuse what has no straight way: cells that are missing, and texts."""
    for side in (base, full):
        for name, one in side.items():
            if one.dtype.kind not in "biuf":
                raise no_twin(f"its input '{name}' takes texts.")
            if one.dtype.kind == "f" and not np.isfinite(one).all():
                raise no_twin(
                    "the row, or one of the background, has cells that are missing, and there is "
                    "no way between nothing and a number."
                )


def _owners(lookups: Lookups, name: str, parts: RowParts, base: Array) -> Array:
    """Which column decides what is looked up (columns,), as shares of 1."""
    changed = np.zeros(parts.count)
    for at, presence in enumerate(np.eye(parts.count)):  # all at once would not fit into memory
        alone = lookups.of(parts.inputs(presence[None]))[name]
        changed[at] = float(np.abs(alone - base).sum())
    total = float(changed.sum())
    return changed / total if total else changed
