"""The weights of a model drawn anew: an explanation that stays the same tells nothing of them.

Source: J. Adebayo et al., Sanity Checks for Saliency Maps (NeurIPS 2018), the cascading check: from
the answer back towards the input, ever more layers have their weights drawn anew.

The files are made here, in a process without keys and network, because a model file is foreign
bytes: the gateway keeps and passes on what it cannot read, and a worker loads it as any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelry.domain.errors import Cancelled, ModelryError
from modelry.explaining.faithfulness import rank_agreement
from modelry.runtime_api.tensors import Array
from modelry.runtime_api.work import WorkHost
from modelry.scoring.measuring import mean, measured
from modelry.studying.asking import Asking
from modelry.studying.contract import MODEL, RANDOMISED, StudiedRow
from modelry.studying.onnx_weights import Layer, layers_of
from modelry.studying.parts import part_table

MOST_ROWS = 20
"""Whose explanations are compared."""
ALIKE = 0.5
"""With all weights drawn anew, explanations have changed where their rank correlation is below."""
_FOREST = "TreeEnsemble"
Tell = Callable[[int, int], None]


def randomisation_check(
    host: WorkHost,
    asking: Asking,
    explained: Sequence[tuple[StudiedRow, dict[str, Any]]],
    stages: int,
    *,
    seed: int,
    tell: Tell,
) -> dict[str, Any]:
    """How alike explanations stay while ever more weights are drawn anew.

    `correlation` is Spearman's of the sizes of the parts' weights, the mean over the rows with its
    interval; the same class is explained throughout.

    Args:
        host: gives the model file, and takes those that are made.
        asking: explains.
        explained: rows with their explanations by the version itself; those in which no part
            counts more than another have no order that could change, and are left out.
        stages: how many copies are made; the last one has all layers drawn anew.
        seed: of the drawing.
        tell: told how far it is.
    """
    ordered = [one for one in explained if _has_order(one[1])]
    if not ordered:
        return {"left_out": "in none of the rows does one part count more than another"}
    told: list[dict[str, Any]] = []
    file = host.scratch / "randomised.onnx"
    with host.open(MODEL) as path:
        shutil.copyfile(path, file)  # what is open is no regular file, which is looked for
        layers = layers_of(file)
        if not layers:
            return {"left_out": "no weights were found within the model file itself"}
        steps = np.unique(np.linspace(0, len(layers), min(stages, len(layers)) + 1).round())[1:]
        for stage, step in enumerate(steps, 1):
            shutil.copyfile(path, file)
            redraw(file, layers[len(layers) - int(step) :], seed)
            host.put(f"{RANDOMISED}{stage}", file, {"stage": stage})
            told.append({"layers": int(step), "of": len(layers), **_one(asking, ordered, stage)})
            tell(stage, len(steps))
    return {"rows": len(ordered), "stages": told, "changes": _judged(layers, told[-1])}


def redraw(file: Path, layers: Sequence[Layer], seed: int) -> None:
    """Draw the weights of some layers anew, in the file.

    Numbers of both signs are drawn from the normal distribution with their mean and spread; others
    (variances, and what is quantised) change places at random.
    """
    random = np.random.default_rng(seed)
    data = np.memmap(file, np.uint8, "r+")
    for layer in layers:
        for numbers in layer.weights:
            numbers.write(data, _drawn(numbers.view(data).copy(), random))
    data.flush()
    del data


def _drawn(values: Array, random: np.random.Generator) -> Array:
    if values.dtype.kind != "f" or not values.min() < 0 < values.max():
        return random.permutation(values)
    kept = values.astype(np.float64)
    drawn: Array = random.normal(kept.mean(), kept.std(), len(kept)).astype(values.dtype)
    return drawn


def _one(
    asking: Asking, explained: Sequence[tuple[StudiedRow, dict[str, Any]]], stage: int
) -> dict[str, Any]:
    try:
        asking.load(stage)
        found = [
            _agreement(told, asking.explanation(row, target=told["target"]["index"], stage=stage))
            for row, told in explained
        ]
    except Cancelled:
        raise
    except ModelryError as error:
        return {"failed": str(error)[:500]}
    return {"correlation": measured(mean, np.array(found))}


def _has_order(told: dict[str, Any]) -> bool:
    table = part_table([told["attribution"]])
    return table is not None and bool(np.ptp(np.abs(table.weights)) > 0)


def _agreement(first: dict[str, Any], second: dict[str, Any]) -> float:
    table = part_table([first["attribution"], second["attribution"]])
    if table is None:
        return 0.0
    return rank_agreement(*np.abs(table.weights))


def _judged(layers: Sequence[Layer], last: dict[str, Any]) -> bool | None:
    """Whether explanations change with the weights; None where that cannot be told.

    Of forests the leaves alone are drawn anew: the columns that they split by are the same, and
    with them much of an explanation.
    """
    found = last.get("correlation")
    if found is None or any(one.operator.startswith(_FOREST) for one in layers):
        return None
    return bool(found.get("high", found["value"]) < ALIKE)
