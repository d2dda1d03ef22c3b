"""Quantus's scores of our explanations beside our own; a part of `make bench-explain`.

Faithfulness: pictures of garments, each with explanations that range from good to wrong: occlusion
and RISE of the server, both spoilt by noise, turned round, and random. Each gets our deletion and
insertion areas, and Quantus's pixel flipping and faithfulness correlation.

Randomisation: Quantus randomises the layers of the same network one after the other from the top;
each such network is registered, served and explained; how like the first explanation the others
are is measured by Quantus and by us.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

from benchmarks import explained_models as known
from benchmarks import machine
from benchmarks.explained_models import ExplainedModel
from benchmarks.peers.asking import Peer, asked
from benchmarks.peers.environment import pinned
from benchmarks.served import Served, modelry
from modelry.explaining.asking import Asking, Subject
from modelry.explaining.course import Course
from modelry.explaining.faithfulness import RandomOrders, measure, rank_agreement
from modelry.explaining.images import ImageParts
from modelry.processing.declaration import normalize_steps
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtimes.onnx.runtime import OnnxRuntime
from modelry.tasks.prediction import Predictor, predictor_for

PICTURES = 30
METHODS = ("occlusion", "rise")
LAYERS = ("dense", "convolution")
"""Of the small network, from the top: that is how far each randomised one is randomised."""


@dataclass(frozen=True)
class Maps:
    """Explanations of pictures: cells (pictures, rows, columns), and the classes explained."""

    grids: np.ndarray
    targets: np.ndarray


def judged(given: argparse.Namespace) -> list[str]:
    """Both measurements; the lines of the result."""
    count = max(given.inputs, 3) if given.inputs < 11 else PICTURES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = known.garments(folder, count)
        served = stack.enter_context(modelry())
        model.deploy(served, folder, given.threads)
        peer = stack.enter_context(asked("captum", "quantus_answers.py", str(given.threads)))
        maps = {method: explained(served, model, method) for method in METHODS}
        faithful = faithfulness(model, maps, peer)
        print("\n".join(faithful), flush=True)
        random = randomisation(served, model, maps["occlusion"], peer, folder)
    return [
        *machine.describe(["modelry", "onnxruntime", "numpy"]),
        f"- peer: {', '.join(pinned(['captum']))}",
        f"- {count} pictures of Fashion-MNIST's test split, the small network, grids of cells",
        "",
        *faithful,
        "",
        *random,
    ]


def explained(served: Served, model: ExplainedModel, method: str, like: Maps | None = None) -> Maps:
    """What the server says of all pictures; of the same classes as `like` says."""
    grids, targets = [], []
    for at, picture in enumerate(model.inputs):
        found = served.client.explain(
            model.name,
            image=Image.fromarray(picture),
            method=method,
            target=None if like is None else int(like.targets[at]),
            checks=False,
            picture=False,
        )
        grids.append(found.attribution["grid"])
        targets.append(found.target.index)
    return Maps(np.array(grids), np.array(targets))


def spoilt(maps: Mapping[str, Maps]) -> dict[str, np.ndarray]:
    """Good, worse and wrong maps of each picture by what they are."""
    random = np.random.default_rng(0)
    first = maps["occlusion"].grids
    spread = first.std(axis=(1, 2), keepdims=True)
    noise = random.normal(size=first.shape) * spread
    return {
        **{name: one.grids for name, one in maps.items()},
        "occlusion with noise": first + noise,
        "occlusion with more noise": first + 3 * noise,
        "random": noise,
        "occlusion turned round": -first,
    }


def faithfulness(model: ExplainedModel, maps: Mapping[str, Maps], peer: Peer) -> list[str]:
    """Our areas and Quantus's scores for all maps, and how they correlate."""
    of_pictures = Inside(model)
    targets = maps["occlusion"].targets
    pictures = np.stack([picture[None] / np.float32(255) for picture in model.inputs])
    weights = weights_of(model)
    rows, ours, theirs = [], [], []
    for name, grids in spoilt(maps).items():
        mine = np.array(
            [
                of_pictures.areas(picture, grid.ravel(), int(target))
                for picture, grid, target in zip(model.inputs, grids, targets, strict=True)
            ]
        )
        cell = pictures.shape[-1] // grids.shape[-1]
        wide = grids.repeat(cell, 1).repeat(cell, 2)[:, None]
        arrays = {"pictures": pictures, "maps": wide, "targets": targets, **weights}
        told = peer.ask("faithfulness", arrays)
        other = np.array([told["flipping"], told["correlation"]]).T
        ours.append(mine)
        theirs.append(other)
        means = [*mine.mean(axis=0), *other.mean(axis=0)]
        rows.append([name, *(f"{one:.3f}" for one in means)])
    mine, other = np.stack(ours), np.stack(theirs)
    head = ["explanation", "deletion", "insertion", "Quantus: pixel flipping",
            "Quantus: faithfulness correlation"]  # fmt: skip
    pairs = {
        "deletion and pixel flipping": (mine[..., 0], other[..., 0]),
        "insertion less deletion and faithfulness correlation": (
            mine[..., 1] - mine[..., 0],
            other[..., 1],
        ),
        "insertion less deletion and pixel flipping, downwards": (
            mine[..., 1] - mine[..., 0],
            -other[..., 0],
        ),
    }
    agreements = [
        [
            what,
            f"{rank_agreement(one.ravel(), two.ravel()):.3f}",
            f"{np.mean([rank_agreement(a, b) for a, b in zip(one.T, two.T, strict=True)]):.3f}",
        ]
        for what, (one, two) in pairs.items()
    ]
    return [
        "## Faithfulness",
        "",
        "Means over the pictures; deletion and flipping: lower is better, the others: higher.",
        "",
        *machine.table(head, rows),
        "",
        (
            "Spearman's correlation of both over all pictures and explanations, and its mean over "
            "the pictures, within which explanations are ranked:"
        ),
        "",
        *machine.table(["scores", "over all", "within a picture"], agreements),
    ]


def randomisation(
    served: Served, model: ExplainedModel, first: Maps, peer: Peer, folder: Path
) -> list[str]:
    """How like the explanations of randomised networks are to the first ones."""
    told = peer.ask("randomised", weights_of(model))
    grids = {"original": first.grids}
    for at, layer in enumerate(LAYERS):
        file = folder / f"randomised-{at}.onnx"
        onnx.save(with_weights(model, at, told["arrays"]), file)
        other = replace(model, name=f"randomised-{at}", files={"model": file})
        other.deploy(served, folder, 1)
        grids[layer] = explained(served, other, "occlusion", first).grids
    cell = known.SIDE // first.grids.shape[-1]
    arrays = {
        f"maps {name}": one.repeat(cell, 1).repeat(cell, 2)[:, None] for name, one in grids.items()
    }
    pictures = np.stack([picture[None] / np.float32(255) for picture in model.inputs])
    scores = peer.ask(
        "randomisation",
        {"pictures": pictures, "targets": first.targets, **arrays, **weights_of(model)},
        layers=list(LAYERS),
    )["scores"]
    rows: list[list[str]] = []
    all_ours: list[float] = []
    all_theirs: list[float] = []
    for layer in LAYERS:
        ours = [
            rank_agreement(a.ravel(), b.ravel())
            for a, b in zip(first.grids, grids[layer], strict=True)
        ]
        theirs = scores[layer]
        all_ours += ours
        all_theirs += theirs
        up_to = " and ".join(LAYERS[: LAYERS.index(layer) + 1])
        rows.append([up_to, f"{np.mean(ours):.3f}", f"{np.mean(theirs):.3f}"])
    agreement = rank_agreement(np.array(all_ours), np.array(all_theirs))
    return [
        "## Randomisation",
        "",
        "Spearman's correlation with the explanation of the trained network; it must fall.",
        "",
        *machine.table(["randomised", "ours", "Quantus: MPRT"], rows),
        "",
        f"Both agree over all pictures and networks: {agreement:.3f}.",
    ]


class Inside:
    """Measures any map of a picture as a worker measures its own, without a server."""

    def __init__(self, model: ExplainedModel) -> None:
        manifest = {
            **model.manifest,
            "name": model.name,
            "pre": normalize_steps(model.manifest["pre"], "pre"),
            "post": normalize_steps(model.manifest["post"], "post"),
            "files": {role: {"name": path.name} for role, path in model.files.items()},
        }
        task = str(manifest["task"])
        self._engine = OnnxRuntime().load(LoadSpec(task, "onnx", manifest, model.files))
        predictor = predictor_for(task, manifest, model.files, self._engine.signature)
        assert predictor is not None
        self._predictor: Predictor = predictor

    def areas(self, picture: np.ndarray, weights: np.ndarray, target: int) -> tuple[float, float]:
        """Deletion and insertion of the picture's cells in the order of `weights`."""
        prepared = self._predictor.before([{"image": known.png(picture)}], {})
        parts = ImageParts(prepared)
        asking = Asking(self._subject(), prepared, target, Course(StopSignal()))
        found = measure(
            lambda presences: asking.scores(parts, presences),
            weights,
            RandomOrders(0, parts.guess),
        )
        return found.deletion, found.insertion

    def _subject(self) -> Subject:
        return Subject(
            {}, {}, self._predictor, lambda inputs, _: self._engine.infer(inputs, StopSignal()), 64
        )


def weights_of(model: ExplainedModel) -> dict[str, np.ndarray]:
    """The weights of the small network, as torch has them."""
    return {name: _oriented(one) for name, one in _initialisers(model).items()}


def initialisers_of(model: ExplainedModel) -> dict[str, np.ndarray]:
    """The weights of a network, by the names that its file has for them."""
    graph = onnx.load(model.files["model"]).graph
    return {one.name: numpy_helper.to_array(one) for one in graph.initializer}


def with_weights(model: ExplainedModel, at: int, told: Mapping[str, np.ndarray]) -> Any:
    """The network's file with the weights that are randomised so far."""
    graph = onnx.load(model.files["model"])
    names = _roles(graph)
    for one in graph.graph.initializer:
        role = names.get(one.name)
        if role is None:
            continue
        wanted = told[f"{at} {role}"]
        shape = tuple(one.dims)
        array = wanted if wanted.shape == shape else wanted.T
        one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), one.name))
    return graph


def _initialisers(model: ExplainedModel) -> dict[str, np.ndarray]:
    graph = onnx.load(model.files["model"])
    names = _roles(graph)
    held = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    return {role: held[name] for name, role in names.items()}


def _roles(graph: Any) -> dict[str, str]:
    """Which initialiser is which weight, by their shapes: the network has two layers."""
    found = {}
    for one in graph.graph.initializer:
        shape = tuple(one.dims)
        if len(shape) == 4:
            found[one.name] = "convolution.weight"
        elif len(shape) == 2 and max(shape) > 1000:
            found[one.name] = "dense.weight"
        elif shape == (32,):
            found[one.name] = "convolution.bias"
        elif shape == (10,):
            found[one.name] = "dense.bias"
    if len(found) != 4:
        raise SystemExit(f"the small network has other weights than it had: {sorted(found)}")
    return found


def _oriented(array: np.ndarray) -> np.ndarray:
    return array.T if array.ndim == 2 and array.shape[0] > array.shape[1] else array
