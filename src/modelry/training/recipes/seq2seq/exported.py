"""The files of the version, whether they answer as the trained network, and how well they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import orjson
import torch
from tokenizers import Tokenizer

from modelry.metrics.text import bleu, chrf, exact_matches, rouge_l
from modelry.processing.sequences.batch import search_all
from modelry.processing.sequences.graphs import SequenceGraphs
from modelry.runtime_api.sequence_models import (
    DECODER_ROLE,
    ENCODER_ROLE,
    TOKENIZER_ROLE,
    SequenceModel,
)
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Parity
from modelry.training.recipes.seq2seq import Seq2SeqParameters
from modelry.training.recipes.seq2seq.examples import Pairs
from modelry.training.recipes.seq2seq.graphs import NEVER, write_decoder, write_encoder
from modelry.training.recipes.seq2seq.network import Transformer, Written
from modelry.training.recipes.seq2seq.tokens import TokenRows, write_tokenizer

TOLERANCE = 1e-4
"""Of log-probabilities."""
COMPARED_ROWS = 64
COMPARED_AT_ONCE = (1, 3, 16)
"""Sizes of the batches that are compared, in turn: none may be baked into the files."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the version is made of."""

    model: SequenceModel
    tokenizer: Tokenizer
    description: Path
    encoder: Path
    decoder: Path
    vocabulary: Path

    def by_role(self) -> dict[str, Path]:
        """As the manifest names them."""
        return {
            "model": self.description,
            ENCODER_ROLE: self.encoder,
            DECODER_ROLE: self.decoder,
            TOKENIZER_ROLE: self.vocabulary,
        }

    def graphs(self) -> SequenceGraphs:
        """Loaded as serving loads them: ONNX Runtime on the CPU."""
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = max(1, torch.get_num_threads())
        encoder, decoder = (
            ort.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
            for file in (self.encoder, self.decoder)
        )
        return SequenceGraphs(self.model, encoder, decoder, ort.OrtValue.ortvalue_from_numpy)


def write_files(
    network: Transformer, model: SequenceModel, tokenizer: Tokenizer, folder: Path
) -> Files:
    """Write all files of the version."""
    files = Files(
        model,
        tokenizer,
        folder / "seq2seq.json",
        folder / "encoder.onnx",
        folder / "decoder.onnx",
        folder / "tokenizer.json",
    )
    weights = {name: one.detach().numpy() for name, one in network.state_dict().items()}
    files.description.write_bytes(orjson.dumps(model.to_json(), option=orjson.OPT_INDENT_2))
    write_encoder(weights, network.shape, files.encoder)
    write_decoder(weights, network.shape, files.decoder, never=(model.pad, model.start))
    write_tokenizer(tokenizer, files.vocabulary)
    return files


def checked(files: Files, network: Transformer, pairs: Pairs) -> Parity:
    """Whether the files give the log-probabilities of the network, on real rows, token by token."""
    graphs = files.graphs()
    network.eval()
    places = torch.arange(min(len(pairs), COMPARED_ROWS))
    max_abs = max_rel = 0.0
    right = np.zeros(2, np.int64)
    tokens = 0
    for part in _batches(places):
        pair = pairs.batch(part)
        source, given, wanted = (one.cpu() for one in (pair.source, pair.given, pair.wanted))
        with torch.no_grad():
            written: Written = network(source, given)
            written.logits[..., [files.model.pad, files.model.start]] = NEVER
            trained = written.log_probabilities().numpy()
        trained[..., [files.model.pad, files.model.start]] = NEVER
        exported = _scores(graphs, source.numpy(), given.numpy())
        counts = wanted.numpy() != files.model.pad
        ours, theirs = trained[counts], exported[counts]
        possible = ours > NEVER / 2
        gap = np.abs(ours - theirs)[possible]
        size = np.maximum(np.abs(ours), np.abs(theirs))[possible]
        max_abs = max(max_abs, float(gap.max(initial=0.0)))
        max_rel = max(max_rel, float((gap / np.maximum(size, 1e-6)).max(initial=0.0)))
        chosen = wanted.numpy()[counts]
        right += [(one.argmax(-1) == chosen).sum() for one in (ours, theirs)]
        tokens += int(counts.sum())
    return Parity(
        rows=len(places),
        max_abs=max_abs,
        max_rel=max_rel,
        tolerance=TOLERANCE,
        metric="token_accuracy",
        trained_metric=float(right[0] / tokens),
        exported_metric=float(right[1] / tokens),
    )


def measured_texts(
    files: Files,
    sources: TokenRows,
    targets: TokenRows,
    places: Sequence[int] | Array,
    parameters: Seq2SeqParameters,
) -> Mapping[str, float]:
    """How close the texts that the exported files write are to the rows' own."""
    found = search_all(
        files.graphs(),
        [sources[at].tolist() for at in places],
        beams=parameters.beams,
        length_penalty=parameters.length_penalty,
    )
    written = [_text(files.tokenizer, one.tokens) for one in found]
    wanted = [_text(files.tokenizer, targets[at].tolist()) for at in places]
    return {
        "chrf": chrf(written, wanted),
        "bleu": bleu(written, wanted),
        "rouge_l": rouge_l(written, wanted),
        "exact_matches": exact_matches(written, wanted),
    }


def _text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text.strip()


def _batches(places: torch.Tensor) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    at = 0
    while at < len(places):
        size = COMPARED_AT_ONCE[len(found) % len(COMPARED_AT_ONCE)]
        found.append(places[at : at + size])
        at += size
    return found


def _scores(graphs: SequenceGraphs, source: Array, given: Array) -> Array:
    """Log-probabilities (n, t, vocabulary) of the token after each of `given`."""
    pad = graphs.model.pad
    memory = graphs.memory_values(graphs.encode([row[row != pad].tolist() for row in source]))
    past = graphs.empty_past()
    count, length = given.shape
    vocabulary = graphs.model.vocabulary
    made = np.empty((count, length, vocabulary), np.float32)
    for at in range(length):
        rows = {
            "tokens": given[:, at].copy(),
            "positions": np.full(count, at, np.int64),
            "parents": np.arange(count, dtype=np.int64) * bool(at),
            "candidates": np.array([vocabulary], np.int64),
        }
        scores, tokens, past = graphs.step(rows, past, memory)
        np.put_along_axis(made[:, at], tokens, scores, axis=1)
    return made
