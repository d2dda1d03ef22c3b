"""Explanations by Captum itself: `python captum_answers.py THREADS`, questions on stdin.

Models run on onnxruntime, as ours do: the libraries differ in how they ask, not in the engine.
"""

import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
from answering import Answer, Arrays, Model, Question, Texts, serve, timed
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    KernelShap,
    LayerGradientXActivation,
    Occlusion,
    ShapleyValueSampling,
)
from lite_network import LiteNetwork, lite_network
from small_network import SmallNetwork, network
from torch.nn import functional


def occlusion(model: Model, question: Question, arrays: Arrays) -> Answer:
    """Occlusion by squares that also hang over the edges, as ours do; means by cell.

    Captum's squares lie within the input, so the image has an edge around it that the model does
    not see.
    """
    image, cell, square = arrays["image"], question["cell"], question["square"]
    edge = square - cell
    wide = np.pad(image, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    height, width = image.shape[2:]
    ask = model.of_array(question)
    mean = torch.from_numpy(image.mean(axis=(2, 3), keepdims=True))

    def forward(images: torch.Tensor) -> torch.Tensor:
        seen = images[:, :, edge : edge + height, edge : edge + width]
        return torch.from_numpy(ask(np.ascontiguousarray(seen.numpy())))

    def explain() -> np.ndarray:
        found = Occlusion(forward).attribute(
            torch.from_numpy(wide),
            sliding_window_shapes=(image.shape[1], square, square),
            strides=(image.shape[1], cell, cell),
            baselines=mean.expand(1, image.shape[1], *wide.shape[2:]),
            perturbations_per_eval=question["batch"],
        )
        pixels = found[0].mean(0)[edge : edge + height, edge : edge + width]
        return _by_cell(pixels.numpy(), cell)

    return timed(model, explain)


def integrated_gradients(model: Model, question: Question, arrays: Arrays) -> Answer:
    """IntegratedGradients of a class's probability, from the image's mean colour on."""
    image = torch.from_numpy(arrays["image"])
    made = network_of(arrays)

    def explain() -> np.ndarray:
        found = IntegratedGradients(lambda given: torch.softmax(made(given), 1)).attribute(
            image,
            baselines=image.mean(dim=(2, 3), keepdim=True).expand_as(image),
            target=question["target"],
            n_steps=question["points"],
            method="gausslegendre",
            internal_batch_size=question["batch"] or None,
        )
        return _by_cell(found[0].sum(0).detach().numpy(), question["cell"])

    return {**timed(model, explain), "rows": question["points"]}


def gradients_of_maps(model: Model, question: Question, arrays: Arrays) -> Answer:
    """LayerGradientXActivation of the last maps, what speaks for a class alone, by cell."""
    image = torch.from_numpy(arrays["image"])
    made = network_of(arrays)

    def above_mean(given: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = made(given)
        return logits - logits.mean(dim=1, keepdim=True)

    def explain() -> np.ndarray:
        found = LayerGradientXActivation(above_mean, made.rectifier).attribute(
            image, target=question["target"]
        )
        heat = torch.relu(found.sum(dim=1, keepdim=True))
        wide = functional.interpolate(heat, size=image.shape[2:], mode="bilinear")
        return _by_cell(wide[0, 0].detach().numpy(), question["cell"])

    return {**timed(model, explain), "rows": 1}


def network_of(arrays: Arrays) -> SmallNetwork | LiteNetwork:
    """The network whose weights came with the question."""
    return lite_network(arrays) if "_fc.weight" in arrays else network(arrays)


def _by_cell(pixels: np.ndarray, cell: int) -> np.ndarray:
    rows = np.add.reduceat(pixels, np.arange(0, pixels.shape[0], cell), axis=0)
    return np.add.reduceat(rows, np.arange(0, pixels.shape[1], cell), axis=1)


def ablation_of_text(model: Model, question: Question, arrays: Arrays) -> Answer:
    """FeatureAblation on which words there are."""
    del arrays
    forward = _forward(Texts(model, question).of_presences)
    words = torch.ones(1, len(question["words"]))
    return timed(
        model,
        lambda: FeatureAblation(forward).attribute(
            words, baselines=0, perturbations_per_eval=question["batch"]
        ),
    )


def shapley_of_row(model: Model, question: Question, arrays: Arrays) -> Answer:
    """ShapleyValueSampling on a row, away parts being those of one other row."""
    row, other = (torch.from_numpy(arrays[name][None]) for name in ("row", "other"))
    torch.manual_seed(question["seed"])
    return timed(
        model,
        lambda: ShapleyValueSampling(_forward(model.of_array(question))).attribute(
            row,
            baselines=other,
            n_samples=max(1, question["calls"] // row.shape[1]),
            perturbations_per_eval=question["batch"],
        ),
    )


def kernel_of_row(model: Model, question: Question, arrays: Arrays) -> Answer:
    """KernelShap on a row, away parts being those of one other row."""
    row, other = (torch.from_numpy(arrays[name][None]) for name in ("row", "other"))
    torch.manual_seed(question["seed"])
    np.random.seed(question["seed"])
    return timed(
        model,
        lambda: KernelShap(_forward(model.of_array(question))).attribute(
            row,
            baselines=other,
            n_samples=question["calls"],
            perturbations_per_eval=question["batch"],
        ),
    )


def ablation_of_row(model: Model, question: Question, arrays: Arrays) -> Answer:
    """FeatureAblation on a row, away parts being those of one other row."""
    row, other = (torch.from_numpy(arrays[name][None]) for name in ("row", "other"))
    return timed(
        model,
        lambda: FeatureAblation(_forward(model.of_array(question))).attribute(
            row, baselines=other, perturbations_per_eval=question["batch"]
        ),
    )


def _forward(ask: Callable[[np.ndarray], np.ndarray]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda given: torch.from_numpy(np.asarray(ask(given.numpy()), np.float64))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(sys.argv[1]))
    serve(
        {
            "ablation of row": ablation_of_row,
            "ablation of text": ablation_of_text,
            "gradients of maps": gradients_of_maps,
            "integrated gradients": integrated_gradients,
            "kernel of row": kernel_of_row,
            "occlusion": occlusion,
            "shapley of row": shapley_of_row,
        }
    )
