"""Training a model that writes texts for texts, and asking it over HTTP, for benchmarks."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine
from benchmarks.served import Served
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.contract import Trained
from modelry.training.recipes.seq2seq import Seq2Seq

PACKAGES = ["modelry", "torch", "onnxruntime", "tokenizers", "sacrebleu"]
SCHEMA = Schema(
    (
        Column("source", ColumnType.TEXT, ColumnRole.SOURCE),
        Column("target", ColumnType.TEXT, ColumnRole.TARGET),
    )
)
CLIENTS = (1, 8, 32)
MODEL = "writer"
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rows:
    """A set of rows, and how the recipe is set for it.

    Attributes:
        title: of the result.
        splits: texts and what is to be written for them: train, validation, test.
        parameters: of the recipe.
        simple: what could do without learning, or nearly: a name, and an answer to a text.
    """

    title: str
    splits: dict[str, list[tuple[str, str]]]
    parameters: dict[str, Any]
    simple: Mapping[str, Callable[[str], str]]


class KeptRun(MemoryRun):
    """Tells how it goes, and goes on from its folder's checkpoint where there is one."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed=seed)
        self._kept = folder / "checkpoint"

    def log(self, line: str) -> None:
        """See `Run.log`."""
        super().log(line)
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def save_checkpoint(self, step: int, file: Path) -> None:
        """See `Run.save_checkpoint`; only the newest is kept."""
        partial = self._kept.with_suffix(".partial")
        shutil.copyfile(file, partial)
        partial.replace(self._kept)
        self.checkpoints[:] = [(step, self._kept)]

    def checkpoint(self) -> Path | None:
        """See `Run.checkpoint`."""
        return self._kept if self._kept.exists() else None


def parsed(description: str | None, sets: Sequence[str]) -> argparse.Namespace:
    """The options that such benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", choices=sets, default=sets[0])
    parser.add_argument("--epochs", type=int, help="instead of the set's own")
    parser.add_argument("--test", type=int, help="only so many rows of the split test")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="for training")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the checkpoint is kept: the same command goes on from it",
    )
    return parser.parse_args()


@contextmanager
def folder_of(arguments: argparse.Namespace) -> Iterator[Path]:
    """The run's folder: the one that is asked for, or one that is gone afterwards."""
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        yield arguments.folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def train(
    rows: Rows, folder: Path, arguments: argparse.Namespace
) -> tuple[Trained, dict[str, Any], float]:
    """The trained version, the parameters, and the CPU seconds of this process for it."""
    import torch

    torch.set_num_threads(arguments.threads)
    shown = dict(rows.parameters)
    if arguments.epochs is not None:
        shown["epochs"] = arguments.epochs
    columns = {
        name: {"source": [one for one, _ in pairs], "target": [one for _, one in pairs]}
        for name, pairs in rows.splits.items()
        if name != "test"
    }
    recipe = Seq2Seq()
    parameters = recipe.parameters(**{**shown, "device": "cpu"})
    data = rows_of(SCHEMA, columns)
    recipe.check(data.description, parameters)
    started = time.process_time()
    trained = recipe.train(data, parameters, KeptRun(folder, arguments.seed))
    return trained, shown, time.process_time() - started


def deploy(served: Served, trained: Trained, folder: Path) -> None:
    """Serve the version as `MODEL`."""
    manifest = folder / "model.yaml"
    files = {role: os.fspath(path) for role, path in trained.files.items()}
    declared = {"name": MODEL, **trained.manifest, "files": files}
    manifest.write_text(yaml.safe_dump(declared, allow_unicode=True), "utf-8")
    served.client.register(manifest)
    served.client.deploy(MODEL, engine_options={"threads": 1})


def answered(
    ask: Callable[[str], str], texts: Sequence[str], clients: int
) -> tuple[list[str], float]:
    """Answers, a request each from so many clients at once, and texts per second."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        found = list(pool.map(ask, texts))
        return found, len(texts) / (time.perf_counter() - started)


def told(
    rows: Rows,
    trained: Trained,
    shown: Mapping[str, Any],
    seconds: float,
    arguments: argparse.Namespace,
) -> list[str]:
    """The head of a result: machine, rows, parameters, effort, parity."""
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in rows.splits.items())
    asked = len(rows.splits["test"][: arguments.test])
    return [
        *machine.describe(PACKAGES),
        f"- rows: {counts}; {asked} of test asked",
        f"- parameters: {', '.join(f'{name} {value}' for name, value in shown.items())}",
        (
            f"- trained in {seconds / 60:.1f} minutes of CPU time on {arguments.threads} core(s), "
            f"seed {arguments.seed}"
        ),
        (
            f"- parity: {trained.parity.max_abs:.1e} at most between log-probabilities, on "
            f"{trained.parity.rows} rows"
        ),
        "",
    ]


def examples(test: Pairs, written: Sequence[str], count: int = 8) -> list[str]:
    """A table of some rows with what was written for them."""
    rows = [
        [text.replace("|", "/") for text in (source, target, answer)]
        for (source, target), answer in list(zip(test, written, strict=False))[:count]
    ]
    return machine.table(["source", "reference", "answer"], rows)
