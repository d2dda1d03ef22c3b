"""From rows of text pairs to a version that writes texts for texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from modelry.domain.datasets import Column
from modelry.domain.errors import Cancelled, InvalidInput
from modelry.runtime_api.sequence_models import SequenceModel
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Run, Trained, TrainingData
from modelry.training.loop import Monitor, fit, prepare
from modelry.training.recipes.seq2seq import Seq2SeqParameters, chosen_columns
from modelry.training.recipes.seq2seq.base import base_tokenizer, take_weights
from modelry.training.recipes.seq2seq.cuts import Cuts
from modelry.training.recipes.seq2seq.examples import Pairs, Varied
from modelry.training.recipes.seq2seq.exported import Files, checked, measured_texts, write_files
from modelry.training.recipes.seq2seq.learning import loss_of, measuring, optimiser_of
from modelry.training.recipes.seq2seq.network import Shape, Transformer
from modelry.training.recipes.seq2seq.tokens import (
    TokenRows,
    flattened,
    learnt_tokenizer,
    special_tokens,
    token_rows,
)
from modelry.training.selection import Splits, choose_splits
from modelry.training.weights import digest_of

CHUNK = 1024
WRITTEN_ROWS = 500
"""How many validation rows are written at the end, to be compared with their references."""


def train(data: TrainingData, parameters: Seq2SeqParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    device = prepare(run.seed, parameters)
    rows = _read(data, parameters, run)
    shape = _shape(rows.tokenizer, parameters)
    model = Transformer(shape).to(device)
    if run.base:
        take_weights(model, run.base)
        run.log("going on from the weights and the vocabulary of the base version")
    learnt = rows.pairs(rows.learnt, device, _varied(rows.tokenizer, parameters, run.seed))
    held_out = rows.pairs(rows.held_out, device)
    fitted = fit(
        model,
        learnt,
        lambda pair: loss_of(model, pair, parameters.label_smoothing),
        parameters,
        run,
        validate=measuring(model, held_out) if len(held_out) else None,
        # the loss rises again while texts still get better: sure of itself is not right
        monitor=Monitor("token_accuracy", larger_is_better=True),
        plan=learnt.plan(parameters.tokens_per_batch),
        optimiser=optimiser_of(model, parameters),
        fingerprint=f"{data.description.digest} {rows.source.name} {rows.target.name}",
    )
    model.to("cpu")
    run.progress(0, None, "steps", "exporting")
    digest = digest_of(model.state_dict())
    described = _described(shape, parameters, rows)
    files = write_files(model, described, rows.tokenizer, run.scratch)
    compared = held_out if len(held_out) else learnt
    parity = checked(files, model, compared)
    run.log(
        f"exported; on {parity.rows} rows its log-probabilities differ from the trained model's by "
        f"at most {parity.max_abs:.2e}"
    )
    metrics = {**(fitted.measured or {"loss": fitted.loss})}
    if len(held_out):
        run.progress(0, None, "texts", "writing validation texts")
        places = rows.held_out[:WRITTEN_ROWS]
        metrics |= measured_texts(files, rows.sources, rows.targets, places, parameters)
    return Trained(
        manifest=_manifest(files, parameters),
        files=files.by_role(),
        metrics=metrics,
        parity=parity,
        weights_digest=digest,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows in tokens; `learnt` and `held_out` are places among them."""

    source: Column
    target: Column
    tokenizer: Tokenizer
    sources: TokenRows
    targets: TokenRows
    learnt: Array
    held_out: Array

    def pairs(self, places: Array, device: torch.device, varied: Varied | None = None) -> Pairs:
        """Some of the rows as examples."""
        return Pairs(
            self.sources,
            self.targets,
            places,
            special=special_tokens(self.tokenizer),
            device=device,
            varied=varied,
        )


def _read(data: TrainingData, parameters: Seq2SeqParameters, run: Run) -> _Rows:
    source, target = chosen_columns(data.description, parameters)
    splits = choose_splits(data.description, parameters)
    reader = _Reader(data, source, target, run)
    count = data.description.rows[splits.train]
    learnt, held_out = _places(count, splits, data, run.seed)
    is_learnt = np.zeros(count, bool)
    is_learnt[learnt] = True
    if run.base:
        tokenizer = base_tokenizer(run.base)
    else:
        run.progress(0, None, "rows", "learning the vocabulary")
        texts = flattened(reader.texts(splits.train, is_learnt))
        tokenizer = learnt_tokenizer(texts, parameters.vocabulary)
    used = [splits.train, *([splits.validation] if splits.validation else [])]
    sources, targets = (
        token_rows(tokenizer, reader.column(used, column)) for column in (source, target)
    )
    fits = (
        (sources.lengths <= parameters.source_tokens)
        & (targets.lengths <= parameters.target_tokens)
        # a text without anything but its end
        & (sources.lengths > 1)
        & (targets.lengths > 1)
    )
    rows = _Rows(
        source, target, tokenizer, sources, targets, learnt[fits[learnt]], held_out[fits[held_out]]
    )
    _tell(rows, learnt, held_out, run)
    if not len(rows.learnt):
        raise InvalidInput(
            f"None of the {len(learnt)} rows of split '{splits.train}' has texts in both columns, "
            f"of at most {parameters.source_tokens} and {parameters.target_tokens} tokens; see the "
            "rows, or raise 'source_tokens' and 'target_tokens'.",
            param="source_tokens",
        )
    return rows


def _places(count: int, splits: Splits, data: TrainingData, seed: int) -> tuple[Array, Array]:
    """Places of the rows that are learnt from, and of those held out, over all used splits."""
    if splits.validation is not None:
        validation = data.description.rows[splits.validation]
        return np.arange(count), np.arange(count, count + validation)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[splits.held_out :]), np.sort(order[: splits.held_out])


def _tell(rows: _Rows, learnt: Array, held_out: Array, run: Run) -> None:
    """No row is left out without a word."""
    run.log(
        f"{len(rows.learnt)} rows to learn from, {len(rows.held_out)} to measure on; a vocabulary "
        f"of {rows.tokenizer.get_vocab_size()} tokens"
    )
    left_out = len(learnt) + len(held_out) - len(rows.learnt) - len(rows.held_out)
    if left_out:
        run.log(f"{left_out} rows are left out: a text is empty, or has too many tokens")


class _Reader:
    """Reads texts, and ends when the run shall."""

    def __init__(self, data: TrainingData, source: Column, target: Column, run: Run) -> None:
        self._data, self._run = data, run
        self._names = [source.name, target.name]

    def texts(self, split: str, is_wanted: Array) -> Iterator[Sequence[str]]:
        """The texts of both columns of the rows that are wanted."""
        at = 0
        for batch in self._data.batches(split, self._names, CHUNK):
            self._look_around()
            chosen = is_wanted[at : at + len(batch)]
            at += len(batch)
            for column in batch.columns:
                values = column.to_pylist()
                yield [value for value, wanted in zip(values, chosen, strict=True) if wanted]

    def column(self, splits: Sequence[str], column: Column) -> Iterator[Sequence[str]]:
        """One column of all rows of some splits; blank texts are empty."""
        for split in splits:
            for batch in self._data.batches(split, [column.name], CHUNK):
                self._look_around()
                yield [text if text.strip() else "" for text in batch.column(0).to_pylist()]

    def _look_around(self) -> None:
        if self._run.stop.is_set():
            raise Cancelled("The run was stopped while it read its rows.")


def _shape(tokenizer: Tokenizer, parameters: Seq2SeqParameters) -> Shape:
    return Shape(
        vocabulary=tokenizer.get_vocab_size(),
        pad=special_tokens(tokenizer).pad,
        width=parameters.width,
        heads=parameters.heads,
        inner_width=parameters.inner_width or 4 * parameters.width,
        encoder_layers=parameters.encoder_layers,
        decoder_layers=parameters.decoder_layers,
        positions=max(parameters.source_tokens, parameters.target_tokens),
        copies=parameters.copying,
        dropout=parameters.dropout,
        attention_dropout=parameters.attention_dropout,
        token_dropout=parameters.token_dropout,
    )


def _varied(tokenizer: Tokenizer, parameters: Seq2SeqParameters, seed: int) -> Varied:
    left_out = parameters.merge_dropout
    return Varied(
        Cuts(tokenizer, left_out, seed) if left_out else None,
        parameters.joined_share,
        parameters.source_tokens,
        parameters.target_tokens,
    )


def _described(shape: Shape, parameters: Seq2SeqParameters, rows: _Rows) -> SequenceModel:
    special = special_tokens(rows.tokenizer)
    return SequenceModel(
        vocabulary=shape.vocabulary,
        pad=special.pad,
        start=special.start,
        end=special.end,
        layers=shape.decoder_layers,
        heads=shape.heads,
        head_size=shape.head_size,
        source_tokens=parameters.source_tokens,
        target_tokens=parameters.target_tokens,
        task=parameters.task,
        source_language=parameters.source_language,
        target_language=parameters.target_language,
        copies=shape.copies,
    )


def _manifest(files: Files, parameters: Seq2SeqParameters) -> Mapping[str, object]:
    languages = {
        name: getattr(parameters, name)
        for name in ("source_language", "target_language")
        if getattr(parameters, name)
    }
    return {
        "task": parameters.task,
        "files": {role: path.name for role, path in files.by_role().items()},
        "defaults": {"beams": parameters.beams, "length_penalty": parameters.length_penalty},
        **({"metadata": languages} if languages else {}),
    }
