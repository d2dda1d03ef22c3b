"""Which kinds of Fashion-MNIST are one class of the made detection set: by a rule, measured.

A small convolutional classifier learns from the pictures that the set's training split uses, and is
asked for those of its validation split. Two kinds are joined when it takes more than `JOINED_FROM`
of either for the other; and so are those that are joined by way of a third. Ends with 1 when that
is not how `made_detection.CLASS_OF` has them.

    python -m benchmarks.kinds
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from benchmarks import machine
from benchmarks.made_detection import CLASS_OF, TRAIN_PICTURES
from benchmarks.training_data import fashion_mnist

KINDS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
         "ankle boot")  # fmt: skip
JOINED_FROM = 0.05
EPOCHS, BATCH, RATE = 4, 128, 2e-3


def classifier() -> nn.Module:
    """Two convolutions and two dense layers, for pictures (n, 1, 28, 28)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 25, 128), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(128, len(KINDS)),
    )  # fmt: skip


def confusions(seed: int = 1) -> np.ndarray:
    """(kinds, kinds): how much of each kind, a row, is taken for which, a column."""
    torch.manual_seed(seed)
    raw, truth = fashion_mnist("train")
    pictures = torch.from_numpy(raw.copy())[:, None].float() / 255
    kinds = torch.from_numpy(truth.astype(np.int64))
    model = classifier()
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    steps = EPOCHS * -(-TRAIN_PICTURES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for places in torch.randperm(TRAIN_PICTURES).split(BATCH):
            loss = nn.functional.cross_entropy(model(pictures[places]), kinds[places])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        said = torch.cat([model(some).argmax(1) for some in pictures[TRAIN_PICTURES:].split(1000)])
    counts = torch.zeros(len(KINDS), len(KINDS))
    counts.index_put_((kinds[TRAIN_PICTURES:], said), torch.ones(()), accumulate=True)
    return (counts / counts.sum(1, keepdim=True)).numpy()


def joined(shares: np.ndarray) -> tuple[int, ...]:
    """The class of each kind, numbered as they come."""
    first = list(range(len(shares)))
    for one, other in np.argwhere((shares > JOINED_FROM) | (shares.T > JOINED_FROM)).tolist():
        low, high = sorted((first[one], first[other]))
        first = [low if at == high else at for at in first]
    numbers: dict[int, int] = {}
    return tuple(numbers.setdefault(at, len(numbers)) for at in first)


def main() -> None:
    """Measure, print, write."""
    shares = confusions()
    classes = joined(shares)
    rule = f"kinds are joined where over {100 * JOINED_FROM:.0f} % of one are taken for the other"
    rows = [[name, *(f"{100 * share:.1f}" for share in row), str(number)]
            for name, row, number in zip(KINDS, shares, classes, strict=True)]  # fmt: skip
    machine.write(
        "detection-classes",
        "Which kinds of garments a classifier tells apart",
        [
            *machine.describe(["torch", "numpy"]),
            f"- accuracy of ten kinds: {100 * shares.diagonal().mean():.1f} %",
            f"- of {max(classes) + 1} classes: {100 * _accuracy(shares, classes):.1f} % ({rule})",
            "- rows are kinds, columns what they are taken for, in percent",
            "",
            *machine.table(["kind", *KINDS, "class"], rows),
        ],
    )
    if classes != CLASS_OF:
        sys.exit(f"made_detection has the classes {CLASS_OF}; measured are {classes}.")


def _accuracy(shares: np.ndarray, classes: tuple[int, ...]) -> float:
    same = np.array(classes)[:, None] == np.array(classes)
    return float((shares * same).sum(1).mean())


if __name__ == "__main__":
    main()
