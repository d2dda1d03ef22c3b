"""From rows of images to a version that classifies them."""

from __future__ import annotations

from typing import Any

import torch

from modelry.domain.datasets import Column
from modelry.domain.errors import InvalidInput
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.training.classifying import ClassLoss, accuracy_of, class_steps, logits_spec
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.images import looks
from modelry.training.inputs import graph_of
from modelry.training.labels import find_classes
from modelry.training.loop import Monitor, fit, prepare
from modelry.training.outcome import Outcome, finish
from modelry.training.parity import ROWS
from modelry.training.recipes.image_classification import (
    ImageClassificationParameters,
    chosen_columns,
)
from modelry.training.recipes.image_classification.networks import ResidualNetwork, SmallNetwork
from modelry.training.recipes.image_classification.rows import Examples, Reader, measuring
from modelry.training.selection import choose_splits

INPUT = "image"
TASK = "image-classification"
KEPT_SIZE = 64
"""Images up to this many pixels high and wide are taken as they are."""
USUAL_SIZE = 96
SIZES = range(8, 1025)


def train(data: TrainingData, parameters: ImageClassificationParameters, run: Run) -> Trained:
    """See `Recipe.train`; with a network of the recipe's own."""
    device = prepare(run.seed, parameters)
    image, label = chosen_columns(data.description, parameters)
    splits = choose_splits(data.description, parameters)
    classes = find_classes(data, label, splits.used)
    shape = _shape(data, splits.train, image, parameters)
    pre = _pre(shape)
    signature = Signature(
        (TensorSpec(INPUT, Datatype.FP32, (DYNAMIC, *shape)),),
        (logits_spec(len(classes.names)),),
        batched=True,
    )
    post = class_steps(len(classes.names))
    graph = graph_of(TASK, pre, post, signature, labels=classes.names)
    reader = Reader(
        data=data,
        image=image,
        label=label,
        classes=classes,
        graph=graph,
        input=INPUT,
        shape=shape,
        limit_bytes=parameters.memory_mb * 2**20,
        run=run,
    )
    learnt, measured_on = reader.read_parts(splits)

    model = _network(parameters, shape, len(classes.names)).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = ClassLoss(
        learnt.chosen, len(classes.names), parameters.class_weights, parameters.label_smoothing
    ).to(device)
    fitted = fit(
        model,
        Examples(learnt, parameters.augment, device),
        lambda batch: loss(model(batch[0]), batch[1]),
        parameters,
        run,
        validate=measuring(model, measured_on, device),
        monitor=Monitor("accuracy", larger_is_better=True),
        plan=learnt.plan(parameters.batch_size),
        fingerprint=f"{data.description.digest} {image.name} {label.name}",
    )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    compared = measured_on if len(measured_on.places) > 1 else learnt
    places = compared.places[:ROWS]
    return finish(
        Outcome(
            model=model,
            signature=signature,
            manifest={"task": TASK, "pre": pre, "post": post, "labels": list(classes.names)},
            rows={INPUT: compared.inputs.take(places).numpy()},
            metrics=fitted.measured or {"loss": fitted.loss},
            metric=accuracy_of(compared.numbers[places.numpy()]),
        ),
        run,
    )


def _shape(
    data: TrainingData, split: str, column: Column, parameters: ImageClassificationParameters
) -> tuple[int, int, int]:
    """Channels, height and width of the network's input."""
    found = looks(data, split, column)
    gray = found.are_gray if parameters.colours == "auto" else parameters.colours == "gray"
    width, height = parameters.image_size or (
        (found.width, found.height)
        if max(found.width, found.height) <= KEPT_SIZE
        else (USUAL_SIZE, USUAL_SIZE)
    )
    if width not in SIZES or height not in SIZES:
        raise InvalidInput(
            f"Images would be {width} x {height} pixels; this recipe takes {SIZES[0]} to "
            f"{SIZES[-1]} a side. Set 'image_size'.",
            param="image_size",
        )
    return (1 if gray else 3, height, width)


def _pre(shape: tuple[int, int, int]) -> list[Any]:
    channels, height, width = shape
    return [
        {"decode": "gray" if channels == 1 else "rgb"},
        {"resize": [width, height]},
        {"scale": "1/255"},
        {"layout": "nchw"},
    ]


def _network(
    parameters: ImageClassificationParameters, shape: tuple[int, int, int], classes: int
) -> torch.nn.Module:
    channels, height, width = shape
    if parameters.network == "small":
        return SmallNetwork(channels, height, width, classes)
    return ResidualNetwork(
        channels, classes, parameters.width, parameters.blocks, parameters.dropout
    )
