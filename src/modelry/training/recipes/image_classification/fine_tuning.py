"""From rows of images and a registered version to one that knows their classes.

The base's own file and its own steps are kept: what it computes of an image stays, except for the
blocks that are asked to learn. The last layer is new. Where images are not changed at random, what
stays is computed once for each image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelry.datasets.pictures import image_files
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.tensors import Array
from modelry.training.backbones.backbone import Backbone, tried
from modelry.training.backbones.cutting import cut, last_layer
from modelry.training.backbones.graph import Graph, read_graph, unsuited
from modelry.training.backbones.network import Headed, Spread
from modelry.training.backbones.trunk import PIXELS_AT_ONCE
from modelry.training.backbones.writing import input_name, write
from modelry.training.classifying import OUTPUT, ClassLoss, accuracy_of, class_steps, logits_spec
from modelry.training.contract import BaseVersion, Run, Trained, TrainingData
from modelry.training.inputs import CHUNK, Rows, graph_of, processed
from modelry.training.labels import find_classes
from modelry.training.loop import Fitted, Monitor, fit, make_optimiser, prepare
from modelry.training.outcome import Exporting, finish_exported
from modelry.training.parity import ROWS, TOLERANCE
from modelry.training.recipes.image_classification import (
    ImageClassificationParameters,
    chosen_columns,
)
from modelry.training.recipes.image_classification.base import (
    MODEL_ROLE,
    TASK,
    scored_output,
    steps_before,
)
from modelry.training.recipes.image_classification.rows import (
    ITEM,
    MEASURED_ROWS,
    Examples,
    ImageRows,
    Reader,
    measuring,
)
from modelry.training.selection import choose_splits
from modelry.training.weights import digest_of

PROBED_ROWS = 2
COMPARED_BYTES = 2**26
"""Of the images of the parity check together."""
COMPARED_AT_ONCE = 32


def train(data: TrainingData, parameters: ImageClassificationParameters, run: Run) -> Trained:
    """See `Recipe.train`; with the base version as the network."""
    device = prepare(run.seed, parameters)
    image, label = chosen_columns(data.description, parameters)
    splits = choose_splits(data.description, parameters)
    classes = find_classes(data, label, splits.used)
    assert run.base_version is not None
    graph = read_graph(run.base[MODEL_ROLE])
    signature = Signature(
        (TensorSpec(input_name(graph, OUTPUT), Datatype.FP32, graph.shape),),
        (logits_spec(len(classes.names)),),
        batched=True,
    )
    pre, post = steps_before(run.base_version), class_steps(len(classes.names))
    reader = Reader(
        data=data,
        image=image,
        label=label,
        classes=classes,
        graph=graph_of(TASK, pre, post, signature, labels=classes.names),
        input=signature.inputs[0].name,
        shape=(),
        limit_bytes=parameters.memory_mb * 2**20,
        run=run,
    )
    backbone = _backbone(graph, run.base_version, parameters, reader, splits.train)
    _tell(backbone, run)
    tuning = _Tuning(backbone, parameters, device, run)
    learnt, measured_on = tuning.reader(reader).read_parts(splits)
    model = backbone.network(len(classes.names), parameters.dropout).to(device)
    fitted = tuning.fit(
        model, learnt, measured_on, f"{data.description.digest} {image.name} {label.name}"
    )

    is_measured = len(measured_on.places) > 1
    compared = measured_on if is_measured else learnt
    split = splits.validation if is_measured and splits.validation else splits.train
    count = max(PROBED_ROWS, min(ROWS, COMPARED_BYTES // (4 * prod(backbone.pixels))))
    places = compared.places[:count]
    model.cpu().eval()
    rows = {reader.input: _images(reader, split, places.tolist())}
    answers = _answering(backbone, model, reader.input)
    exporting = Exporting(
        write=_writing(backbone, model),
        answers=answers,
        weights_digest=_digest(backbone, model),
        signature=signature,
        manifest={"task": TASK, "pre": pre, "post": post, "labels": list(classes.names)},
        rows=rows,
        metrics=fitted.measured or {"loss": fitted.loss},
        metric=accuracy_of(compared.numbers[places.numpy()]),
        tolerance=TOLERANCE * max(1.0, _largest(answers, rows)),
    )
    return finish_exported(exporting, run)


def _backbone(
    graph: Graph,
    base: BaseVersion,
    parameters: ImageClassificationParameters,
    reader: Reader,
    split: str,
) -> Backbone:
    output = scored_output(base) or graph.outputs[0]
    if output not in graph.makers:
        raise unsuited(f"its file does not compute its output '{output[:80]}'.")
    features = parameters.features or last_layer(graph, output)
    found = cut(graph, features, parameters.unfreeze)
    return tried(graph, found, _images(reader, split, range(PROBED_ROWS)))


def _images(reader: Reader, split: str, places: Sequence[int]) -> Array:
    """The images of some rows, given in order, as the base sees them."""
    wanted = set(places)
    found: list[Array] = []
    first = 0
    for batch in reader.data.batches(split, [reader.image.name], CHUNK):
        chosen = [at for at in range(len(batch)) if first + at in wanted]
        if chosen:
            files = image_files(reader.image, batch.column(0))
            for at in chosen:  # one by one: a message names the row
                rows = Rows(split, first + at, [{ITEM: files[at]}])
                found.append(processed(reader.graph, rows)[0][reader.input])
        first += len(batch)
        if len(found) == len(wanted):
            break
    shapes = {one.shape for one in found}
    if len(shapes) > 1:
        raise unsuited(
            f"its steps give images of different sizes ({sorted(shapes)[:2]}); register it with "
            "steps that bring all to one size."
        )
    return np.concatenate(found)


def _tell(backbone: Backbone, run: Run) -> None:
    cut = backbone.cut
    who = (
        "the new last layer alone learns"
        if not cut.blocks
        else (f"the last {cut.blocks} and the new last layer learn")
    )
    run.log(
        f"the base version has {cut.blocks_in_all} blocks before '{cut.features}', which has the "
        f"shape {list(backbone.sizes[cut.features])} for an image of {list(backbone.pixels)}; {who}"
    )


class _Seeing(torch.nn.Module):
    """A network that is given images, behind what computes what it reads of them."""

    def __init__(self, network: Headed, trunk: Callable[[Array], Array] | None) -> None:
        super().__init__()
        self._network, self._trunk = network, trunk

    def reads(self, pixels: Tensor) -> Tensor:
        """What the network is given for images; without a trunk it is given them as they are."""
        if self._trunk is None:
            return pixels
        made = self._trunk(pixels.detach().cpu().numpy())
        return torch.from_numpy(made).to(pixels.device)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self._network(self.reads(pixels))
        return logits


@dataclass(frozen=True, slots=True)
class _Tuning:
    """How a backbone is trained on rows."""

    backbone: Backbone
    parameters: ImageClassificationParameters
    device: torch.device
    run: Run

    @property
    def is_computed_once(self) -> bool:
        """Whether what stays is computed while rows are read, and no more afterwards."""
        return not self.parameters.augment

    def reader(self, reader: Reader) -> Reader:
        """A reader of what the network is given."""
        backbone = self.backbone
        if not self.is_computed_once:
            return replace(reader, shape=backbone.pixels)
        after = backbone.trunk(self.device)
        return replace(reader, shape=backbone.sizes[backbone.cut.boundary], after=after)

    def fit(self, network: Headed, learnt: ImageRows, measured_on: ImageRows, mark: str) -> Fitted:
        """Train it."""
        backbone, parameters = self.backbone, self.parameters
        trunk = None if self.is_computed_once else backbone.trunk(self.device)
        model = _Seeing(network, trunk)
        at_once = max(1, min(MEASURED_ROWS, 2 * PIXELS_AT_ONCE // backbone.area))
        self._bring_to_one_scale(network, model, learnt, at_once)
        classes = network.dense.out_features
        loss = ClassLoss(
            learnt.chosen, classes, parameters.class_weights, parameters.label_smoothing
        ).to(self.device)
        return fit(
            network,
            Examples(
                learnt,
                parameters.augment,
                self.device,
                has_channels_last=backbone.has_channels_last,
            ),
            lambda batch: loss(model(batch[0]), batch[1]),
            parameters,
            self.run,
            validate=measuring(model, measured_on, self.device, at_once),
            monitor=Monitor("accuracy", larger_is_better=True),
            plan=learnt.plan(parameters.batch_size),
            optimiser=make_optimiser(self._groups(network, len(learnt.places)), parameters),
            fingerprint=f"{mark} {backbone.graph.digest}",
        )

    def _bring_to_one_scale(
        self, network: Headed, model: _Seeing, learnt: ImageRows, at_once: int
    ) -> None:
        spread = Spread(network.dense.in_features)
        network.eval()
        with torch.no_grad():
            for done, (part,) in enumerate(learnt.pixels(at_once)):
                spread.add(network.features(model.reads(part.to(self.device))))
                self.run.progress(
                    min((done + 1) * at_once, len(learnt.places)),
                    len(learnt.places),
                    "rows",
                    "measuring features",
                )
        spread.set_on(network)

    def _groups(self, network: Headed, rows: int) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = [{"params": list(network.dense.parameters())}]
        if network.tail is not None:
            steps = ceil(rows / self.parameters.batch_size)
            groups.append(
                {
                    "params": list(network.tail.parameters()),
                    "rate": self.parameters.backbone_rate,
                    "after": self.parameters.head_epochs * steps,
                }
            )
        return groups


def _writing(backbone: Backbone, network: Headed) -> Callable[[Path], None]:
    learnt = {} if network.tail is None else network.tail.weights()
    last = network.last_layer(backbone.cut.features)
    return lambda file: write(backbone.graph, last, learnt, OUTPUT, file)


def _answering(
    backbone: Backbone, network: Headed, name: str
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """What the trained model answers; the base's own file does the part that stayed."""
    model = _Seeing(network, backbone.trunk(torch.device("cpu")))

    def answers(rows: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            return {OUTPUT: model(torch.from_numpy(np.ascontiguousarray(rows[name]))).numpy()}

    return answers


def _digest(backbone: Backbone, network: Headed) -> str:
    """Of the base's weights and of those that were learnt."""
    parts = (backbone.graph.digest, backbone.cut.features, digest_of(network.state_dict()))
    return f"sha256:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}"


def _largest(
    answers: Callable[[Mapping[str, Array]], Mapping[str, Array]], rows: Mapping[str, Array]
) -> float:
    """The largest score: with many features it may be far from 1, and differences with it."""
    ((name, images),) = rows.items()
    parts = np.array_split(images, ceil(len(images) / COMPARED_AT_ONCE))
    return max(float(np.abs(answers({name: part})[OUTPUT]).max()) for part in parts)
