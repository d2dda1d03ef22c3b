"""From conversations and a base version to an adapter for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from modelry.domain.errors import InvalidInput
from modelry.training.classifying import held_out_places
from modelry.training.contract import BaseVersion, Run, Trained, TrainingData
from modelry.training.devices import computes_in_bfloat16
from modelry.training.loop import fit, prepare
from modelry.training.recipes.chat import ADAPTER_ROLE, MODEL_ROLE, ChatParameters, chosen_column
from modelry.training.recipes.chat.adapters import Adapters, Settings, take_adapter, write_adapter
from modelry.training.recipes.chat.base_file import BaseModel, read_base
from modelry.training.recipes.chat.comparing import (
    Network,
    Question,
    compared,
    questions_of,
    tolerance_after,
)
from modelry.training.recipes.chat.decoder import Decoder
from modelry.training.recipes.chat.examples import (
    Batch,
    Conversations,
    Reader,
    check_some,
    joined,
)
from modelry.training.recipes.chat.serving_engine import ServingEngine
from modelry.training.recipes.chat.shape import Shape
from modelry.training.selection import choose_splits
from modelry.training.token_rows import by_length
from modelry.training.weights import digest_of

ADAPTER_FILE = "adapter.gguf"
USUAL_TOKENS = 1024
_KEPT = ("license", "url", "languages")
"""Of the base's metadata: what is true of its adapter as well."""
MEASURED_TOKENS = 4096
"""Tokens of a batch that is only measured on."""


def train(data: TrainingData, parameters: ChatParameters, run: Run) -> Trained:
    """See `Recipe.train`."""
    device = prepare(run.seed, parameters)
    file = run.base.get(MODEL_ROLE)
    if file is None or run.base_version is None:
        raise InvalidInput("The recipe 'chat' needs a base version; name one.", param="base")
    before = run.base_version.manifest
    base = read_base(file, run)
    limit = _most_tokens(parameters, base.shape)
    adapters = Adapters(base.shape, Settings.of(parameters), parameters.dropout).to(device)
    adapter_before = run.base.get(ADAPTER_ROLE)
    if adapter_before is not None:
        take_adapter(adapters, base.shape, adapter_before)
        run.log("going on from the adapter of the base version")
    half = parameters.mixed_precision and computes_in_bfloat16(device)
    decoder = Decoder(base, device, half=half, recompute=parameters.recompute)
    prepared = _Preparing(data, parameters, run, limit).prepared(base, decoder, _system(before))
    learnt, held_out = prepared.learnt, prepared.held_out
    fitted = fit(
        adapters,
        learnt,
        lambda batch: _loss(decoder, adapters, batch),
        parameters,
        run,
        validate=_measuring(decoder, adapters, held_out) if len(held_out) else None,
        plan=by_length(learnt.lengths, parameters.batch_size),
        fingerprint=f"{data.description.digest} {prepared.column} {run.base_version.ref}",
    )
    run.progress(0, None, "steps", "exporting")
    digest = digest_of(adapters.state_dict())
    target = run.scratch / _adapter_name(before)
    write_adapter(adapters, base.shape, target)
    with _engine(file, limit, target) as engine:
        parity = compared(
            prepared.questions, Network(decoder, adapters), engine, run, prepared.tolerance
        )
    run.log(
        f"exported; llama.cpp gives at most {100 * parity.max_abs:.2f} % of the probability to "
        f"other tokens than the trained network ({100 * prepared.tolerance:.0f} % are allowed); "
        f"the loss at these {parity.rows} places is {parity.exported_metric:.4f}"
    )
    return Trained(
        manifest=_manifest(run.base_version, target),
        files={ADAPTER_ROLE: target},
        reused={MODEL_ROLE: MODEL_ROLE},
        metrics=fitted.measured or {"loss": fitted.loss},
        parity=parity,
        weights_digest=digest,
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is learnt, and how it will be checked."""

    column: str
    learnt: Conversations
    held_out: Conversations
    questions: list[Question]
    tolerance: float


@dataclass(frozen=True, slots=True)
class _Preparing:
    """Reads the rows, and sees that the network is computed as llama.cpp computes it."""

    data: TrainingData
    parameters: ChatParameters
    run: Run
    limit: int

    def prepared(self, base: BaseModel, decoder: Decoder, system: str) -> _Prepared:
        """What to learn from."""
        run = self.run
        column = chosen_column(self.data.description, self.parameters)
        with _engine(run.base[MODEL_ROLE], self.limit) as engine:
            reader = Reader(self.data, column, engine, base.ends, system, self.limit, run)
            learnt, held_out = self._read(reader, decoder.device)
            _tell(learnt, held_out, run)
            questions = questions_of(held_out if len(held_out) else learnt)
            before = compared(questions, Network(decoder), engine, run)
        run.log(
            f"without an adapter, llama.cpp gives at most {100 * before.max_abs:.2f} % of the "
            f"probability at {before.rows} places to other tokens than the network here; the loss "
            f"there is {before.exported_metric:.4f}"
        )
        return _Prepared(column.name, learnt, held_out, questions, tolerance_after(before))

    def _read(self, reader: Reader, device: torch.device) -> tuple[Conversations, Conversations]:
        splits = choose_splits(self.data.description, self.parameters)
        rows = reader.read(splits.train, device)
        if splits.validation is not None:
            learnt = joined(rows, device)
            held_out = joined(reader.read(splits.validation, device), device)
        else:
            places, others = held_out_places(len(rows), splits.held_out, self.run.seed)
            learnt = joined([rows[at] for at in places.tolist()], device)
            held_out = joined([rows[at] for at in others.tolist()], device)
        check_some(learnt, splits.train, self.limit)
        return learnt, held_out


def _most_tokens(parameters: ChatParameters, shape: Shape) -> int:
    """Of a conversation.

    Raises:
        InvalidInput: more are asked for than the model was made for.
    """
    if parameters.max_tokens is None:
        return min(USUAL_TOKENS, shape.context)
    if parameters.max_tokens > shape.context:
        raise InvalidInput(
            f"'max_tokens' is {parameters.max_tokens}; the base model was made for "
            f"{shape.context}.",
            param="max_tokens",
        )
    return parameters.max_tokens


def _engine(file: Path, tokens: int, adapter: Path | None = None) -> ServingEngine:
    return ServingEngine(file, context=tokens + 8, threads=torch.get_num_threads(), adapter=adapter)


def _tell(learnt: Conversations, held_out: Conversations, run: Run) -> None:
    run.log(
        f"{len(learnt)} conversations with {learnt.learnt_tokens} tokens of answers to learn from, "
        f"{len(held_out)} to measure on"
    )
    left_out = learnt.left_out + held_out.left_out
    if left_out:
        run.log(f"{left_out} conversations are left out: they have too many tokens")


def _loss(decoder: Decoder, adapters: Adapters, batch: Batch) -> torch.Tensor:
    """Mean over the tokens of answers."""
    hidden = decoder.hidden(batch.ids, adapters).flatten(0, 1)[batch.places]
    return functional.cross_entropy(decoder.logits(hidden), batch.wanted)


def _measuring(
    decoder: Decoder, adapters: Adapters, rows: Conversations
) -> Callable[[], Mapping[str, float]]:
    """What `fit` calls after every epoch."""
    batches = _batches(rows)

    def measure() -> dict[str, float]:
        total, right, count = 0.0, 0, 0
        for places in batches:
            batch = rows.batch(places)
            hidden = decoder.hidden(batch.ids, adapters).flatten(0, 1)[batch.places]
            logits = decoder.logits(hidden)
            total += float(functional.cross_entropy(logits, batch.wanted, reduction="sum"))
            right += int((logits.argmax(-1) == batch.wanted).sum())
            count += len(batch.wanted)
        loss = total / count
        return {
            "loss": loss,
            "perplexity": float(np.exp(min(loss, 50.0))),
            "token_accuracy": right / count,
        }

    return measure


def _batches(rows: Conversations) -> list[torch.Tensor]:
    """All rows, those of like lengths together."""
    batches: list[list[int]] = []
    width = 0
    for at in np.argsort(rows.lengths, kind="stable").tolist():
        width = max(width, int(rows.lengths[at]))
        if not batches or (len(batches[-1]) + 1) * width > MEASURED_TOKENS:
            batches.append([])
            width = int(rows.lengths[at])
        batches[-1].append(at)
    return [torch.tensor(one) for one in batches]


def _system(manifest: Mapping[str, Any]) -> str:
    found = (manifest.get("defaults") or {}).get("system")
    return found if isinstance(found, str) else ""


def _model_name(manifest: Mapping[str, Any]) -> str:
    return str(manifest["files"][MODEL_ROLE]["name"])


def _adapter_name(manifest: Mapping[str, Any]) -> str:
    """Names of a version's files differ from each other."""
    return ADAPTER_FILE if _model_name(manifest) != ADAPTER_FILE else f"lora-{ADAPTER_FILE}"


def _manifest(base: BaseVersion, adapter: Path) -> dict[str, Any]:
    """As the base's: its system message and its bounds belong to what was learnt."""
    before = base.manifest
    told = {name: one for name, one in (before.get("metadata") or {}).items() if name in _KEPT}
    kept = {
        "defaults": dict(before.get("defaults") or {}),
        "limits": {name: one for name, one in (before.get("limits") or {}).items() if one},
        "metadata": {**told, "base": base.ref},
    }
    return {
        "task": "chat",
        "runtime": "llamacpp",
        "files": {MODEL_ROLE: _model_name(before), ADAPTER_ROLE: adapter.name},
        **{key: value for key, value in kept.items() if value},
    }
