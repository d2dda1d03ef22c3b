"""From rows of texts to a version that classifies them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelry.domain.datasets import Column
from modelry.domain.errors import Cancelled
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.graph import ProcessingGraph
from modelry.runtime_api.tensors import Array
from modelry.training.classifying import (
    ClassLoss,
    accuracy_of,
    class_steps,
    held_out_places,
    logits_over,
    logits_spec,
    measured,
)
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.inputs import CHUNK, Rows, graph_of
from modelry.training.labels import Classes, Numbers, check_occurring, find_classes
from modelry.training.loop import Monitor, fit, prepare
from modelry.training.outcome import Outcome, finish
from modelry.training.parity import ROWS
from modelry.training.recipes.text_classification import (
    TextClassificationParameters,
    chosen_columns,
)
from modelry.training.recipes.text_classification.networks import BagNetwork, TransformerNetwork
from modelry.training.selection import choose_splits
from modelry.training.subwords import learn_subwords
from modelry.training.token_rows import TokenRows, by_length

IDS, MASK = "input_ids", "attention_mask"
TASK = "text-classification"
MAX_CHARACTERS = 4_000_000
"""Of a text; the largest e-mails of real collections have some 300,000."""
MEASURED_ROWS = 64
"""How many rows are scored at a time."""
OPEN = {IDS: {0: "n", 1: "tokens"}, MASK: {0: "n", 1: "tokens"}}


@dataclass(frozen=True, slots=True)
class TextRows:
    """Some rows, ready: their tokens, their classes, and which of them are meant."""

    tokens: TokenRows
    numbers: Numbers
    places: torch.Tensor

    @property
    def chosen(self) -> Numbers:
        """The classes of the rows that are meant."""
        found: Numbers = self.numbers[self.places.numpy()]
        return found

    def ordered(self) -> TextRows:
        """The same rows, short ones first: scored with little padding."""
        order = np.argsort(self.tokens.lengths[self.places.numpy()], kind="stable")
        return TextRows(self.tokens, self.numbers, self.places[torch.from_numpy(order)])

    def batches(self, size: int = MEASURED_ROWS) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Ids and mask of the rows that are meant, in order, `size` at a time."""
        for part in torch.split(self.places, size):
            yield self.tokens.take(part.tolist())


class Examples:
    """Implements `loop.Examples`: ids, mask and class numbers."""

    def __init__(self, rows: TextRows, device: torch.device) -> None:
        self._rows, self._device = rows, device
        self._numbers = torch.from_numpy(rows.numbers)

    def __len__(self) -> int:
        return len(self._rows.places)

    def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `loop.Examples.batch`."""
        chosen = self._rows.places[places]
        ids, mask = self._rows.tokens.take(chosen.tolist())
        numbers = self._numbers[chosen]
        return ids.to(self._device), mask.to(self._device), numbers.to(self._device)


def train(data: TrainingData, parameters: TextClassificationParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    device = prepare(run.seed, parameters)
    text, label = chosen_columns(data.description, parameters)
    splits = choose_splits(data.description, parameters)
    used = [splits.train, *([splits.validation] if splits.validation else [])]
    classes = find_classes(data, label, used)
    count = len(classes.names)
    reader = _Reader(data, text, label, classes, run)

    run.progress(0, None, "rows", "learning subwords")
    file = run.scratch / "tokenizer.json"
    tokenizer = learn_subwords(
        reader.texts(splits.train),
        parameters.vocabulary_size,
        file,
        lowercase=parameters.lowercase,
    )
    pre: list[Any] = [
        {
            "tokenize": {
                "max_length": parameters.max_length,
                "on_overflow": "truncate",
                "max_characters": MAX_CHARACTERS,
            }
        }
    ]
    signature = signature_of(count)
    post = class_steps(count)
    graph = graph_of(TASK, pre, post, signature, labels=classes.names, files={"tokenizer": file})

    limit = parameters.memory_mb * 2**20
    learnt = reader.read(splits.train, graph, limit)
    if splits.validation is not None:
        measured_on = reader.read(splits.validation, graph, limit)
    else:
        places, held_out = held_out_places(len(learnt.places), splits.held_out, run.seed)
        measured_on = TextRows(learnt.tokens, learnt.numbers, held_out)
        learnt = TextRows(learnt.tokens, learnt.numbers, places)
    check_occurring(learnt.chosen, classes, splits.train)

    model = _network(parameters, tokenizer.get_vocab_size(), count).to(device)
    loss = ClassLoss(learnt.chosen, count, parameters.class_weights, parameters.label_smoothing).to(
        device
    )
    lengths = learnt.tokens.lengths[learnt.places.numpy()]
    fitted = fit(
        model,
        Examples(learnt, device),
        lambda batch: loss(model(batch[0], batch[1]), batch[2]),
        parameters,
        run,
        validate=_measuring(model, measured_on.ordered(), device),
        monitor=Monitor("accuracy", larger_is_better=True),
        plan=by_length(lengths, parameters.batch_size),
        fingerprint=f"{data.description.digest} {text.name} {label.name}",
    )
    compared = measured_on if len(measured_on.places) > 1 else learnt
    compared = TextRows(compared.tokens, compared.numbers, compared.places[:ROWS])
    return finish(
        Outcome(
            model=model,
            signature=signature,
            manifest={"task": TASK, "pre": pre, "post": post, "labels": list(classes.names)},
            rows=_parts(compared),
            metrics=fitted.measured or {"loss": fitted.loss},
            metric=accuracy_of(compared.chosen),
            dynamic=OPEN,
            files={"tokenizer": file},
        ),
        run,
    )


def signature_of(classes: int) -> Signature:
    """What the versions take and give."""
    return Signature(
        tuple(TensorSpec(name, Datatype.INT64, (DYNAMIC, DYNAMIC)) for name in (IDS, MASK)),
        (logits_spec(classes),),
        batched=True,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads splits; all have the same columns and classes."""

    data: TrainingData
    text: Column
    label: Column
    classes: Classes
    run: Run

    def texts(self, split: str) -> Iterator[str]:
        """The texts alone; missing ones are named when their tokens are asked for."""
        for batch in self.data.batches(split, [self.text.name]):
            if self.run.stop.is_set():
                raise Cancelled(f"Training was stopped while '{split}' was read.")
            yield from (one for one in batch.column(0).to_pylist() if one)

    def read(self, split: str, graph: ProcessingGraph, limit_bytes: int) -> TextRows:
        """All rows of a split.

        Raises:
            RowsInvalid: a text or label cannot be used; names its row.
            Cancelled: the run was stopped.
        """
        count = self.data.description.rows[split]
        tokens = TokenRows(limit_bytes)
        numbers: Numbers = np.empty(count, dtype=np.int64)
        tokens.fill(graph, IDS, self._rows(split, numbers), count, self.run)
        return TextRows(tokens, numbers, torch.arange(count))

    def _rows(self, split: str, numbers: Numbers) -> Iterator[Rows]:
        first = 0
        for batch in self.data.batches(split, [self.text.name, self.label.name], CHUNK):
            if self.run.stop.is_set():
                raise Cancelled(f"Training was stopped while '{split}' was read.")
            found = self.classes.numbers(batch.column(1), split, first)
            numbers[first : first + len(batch)] = found
            yield Rows(split, first, [{"text": one} for one in batch.column(0).to_pylist()])
            first += len(batch)


def _network(
    parameters: TextClassificationParameters, vocabulary: int, classes: int
) -> torch.nn.Module:
    if parameters.network == "bag":
        return BagNetwork(
            vocabulary,
            classes,
            parameters.vector_size,
            parameters.pair_buckets,
            parameters.dropout,
        )
    return TransformerNetwork(
        vocabulary,
        classes,
        size=parameters.vector_size,
        layers=parameters.layers,
        heads=parameters.heads,
        max_length=parameters.max_length,
        dropout=parameters.dropout,
    )


def _measuring(model: torch.nn.Module, rows: TextRows, device: torch.device) -> Any:
    """What `fit` calls after every epoch; None when nothing is held out."""
    if len(rows.places) == 0:
        return None
    return lambda: measured(logits_over(model, rows.batches(), device), rows.chosen)


def _parts(rows: TextRows) -> list[Mapping[str, Array]]:
    """The rows for the parity check: few at a time, each part as wide as its longest row."""
    return [{IDS: ids.numpy(), MASK: mask.numpy()} for ids, mask in rows.batches(MEASURED_ROWS)]
