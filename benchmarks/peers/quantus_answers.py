"""Scores of explanations by Quantus: `python quantus_answers.py THREADS`, questions on stdin."""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from small_network import network
from torch import nn

FLIPPED_AT_ONCE = 56
"""Pixels: 14 steps for a picture of 28 x 28."""


def faithfulness(question: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Pixel flipping's area and the faithfulness correlation of each picture."""
    del question
    given = {
        "model": network(arrays),
        "x_batch": arrays["pictures"],
        "y_batch": arrays["targets"],
        "a_batch": arrays["maps"],
        "device": "cpu",
        "softmax": True,
    }
    usual = {"perturb_baseline": "mean", "abs": False, "normalise": False, "disable_warnings": True}
    flipping = quantus.PixelFlipping(
        features_in_step=FLIPPED_AT_ONCE, return_auc_per_sample=True, **usual
    )(**given)
    np.random.seed(0)
    correlation = quantus.FaithfulnessCorrelation(
        nr_runs=100, subset_size=112, return_aggregate=False, **usual
    )(**given)
    steps = arrays["pictures"][0].size / FLIPPED_AT_ONCE
    return {
        "flipping": [float(one) / steps for one in flipping],
        "correlation": [float(one) for one in correlation],
    }


def randomised(question: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The weights of all networks that the randomisation test goes through."""
    held = quantus.PyTorchModel(network(arrays), channel_first=True, softmax=False, device="cpu")
    found = {}
    for at, (_, made) in enumerate(held.get_random_layer_generator(order="top_down", seed=42)):
        for name, weights in made.state_dict().items():
            found[f"{at} {name}"] = weights.numpy().copy()
    file = Path(tempfile.mkdtemp(dir=Path(question["arrays"]).parent)) / "found.npz"
    np.savez(file, **found)
    return {"arrays": str(file)}


def randomisation(question: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The randomisation test's scores by layer, of explanations that were made before."""
    waiting = ["original", *question["layers"]]

    def explain(
        model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **more: Any
    ) -> np.ndarray:
        del model, targets, more
        assert len(inputs) == len(arrays["pictures"])
        return arrays[f"maps {waiting.pop(0)}"]

    scores = quantus.MPRT(
        layer_order="top_down", seed=42, abs=False, normalise=False, disable_warnings=True
    )(
        model=network(arrays),
        x_batch=arrays["pictures"],
        y_batch=arrays["targets"],
        a_batch=arrays["maps original"],
        device="cpu",
        explain_func=explain,
        batch_size=len(arrays["pictures"]),
    )
    assert not waiting
    return {"scores": {name: [float(one) for one in each] for name, each in scores.items()}}


ANSWERS = {
    "faithfulness": faithfulness,
    "randomisation": randomisation,
    "randomised": randomised,
}


def main() -> None:
    """Answer questions until there are none."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(sys.argv[1]))
    # libraries print where they like: only answers go to the real stdout
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        with np.load(question["arrays"]) as arrays:
            answer = ANSWERS[question["what"]](question, dict(arrays))
        told.write(json.dumps(answer) + "\n")
        told.flush()


if __name__ == "__main__":
    main()
