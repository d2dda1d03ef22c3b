"""Translation by a model that is trained here, against copying and word for word.

    python -m benchmarks.translation                    English to German, LibreOffice's strings
    python -m benchmarks.translation --rows words       English words to phonemes (CMUdict)
    python -m benchmarks.translation --epochs 1 --test 50   the shortest run that says something

Trains by the recipe `seq2seq` on one core, serves the version by a real server, and asks it over
`/v1/translate` for the texts of the split `test`, which training never saw. chrF and BLEU are
sacrebleu's; a row's split follows from its letters, so that no text is on both sides.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine
from benchmarks.parallel_texts import interface_texts, pronunciations
from benchmarks.served import Served, modelry
from benchmarks.word_for_word import WordForWord
from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.metrics.text import bleu, chrf, exact_matches
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
LONG_WORDS = 4
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Rows:
    """A set of rows, and how the recipe is set for it."""

    title: str
    splits: dict[str, list[tuple[str, str]]]
    parameters: dict[str, Any]
    baseline: WordForWord


class Told(MemoryRun):
    """A run that says on the way how it goes."""

    def log(self, line: str) -> None:
        """See `Run.log`."""
        super().log(line)
        print(line, flush=True)


def interface_rows() -> Rows:
    """LibreOffice's strings, English to German."""
    splits = interface_texts("de")
    parameters = {
        "vocabulary": 3000,
        "width": 192,
        "encoder_layers": 3,
        "decoder_layers": 3,
        "dropout": 0.15,
        "epochs": 40,
        "tokens_per_batch": 1024,
        "learning_rate": 2e-3,
        "source_tokens": 256,
        "target_tokens": 256,
        "length_penalty": 1.5,
        "source_language": "en",
        "target_language": "de",
    }
    return Rows("LibreOffice, en-de", splits, parameters, WordForWord(splits["train"]))


def word_rows() -> Rows:
    """Words to phonemes."""
    splits = pronunciations()
    parameters = {
        "vocabulary": 340,
        "width": 96,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.1,
        "epochs": 12,
        "tokens_per_batch": 1024,
        "learning_rate": 3e-3,
        "source_tokens": 48,
        "target_tokens": 64,
    }
    baseline = WordForWord(splits["train"], cut_source=list, cut_target=str.split, glue=" ")
    return Rows("CMUdict, words to phonemes", splits, parameters, baseline)


ROWS = {"interface": interface_rows, "words": word_rows}


def train(rows: Rows, folder: Path, seed: int, changes: dict[str, Any]) -> tuple[Trained, float]:
    """The trained version, and the seconds that it took."""
    columns = {
        name: {"source": [one for one, _ in pairs], "target": [one for _, one in pairs]}
        for name, pairs in rows.splits.items()
        if name != "test"
    }
    recipe = Seq2Seq()
    parameters = recipe.parameters(**{**rows.parameters, "device": "cpu", **changes})
    data = rows_of(SCHEMA, columns)
    recipe.check(data.description, parameters)
    started = time.perf_counter()
    trained = recipe.train(data, parameters, Told(folder, seed=seed))
    return trained, time.perf_counter() - started


def deploy(served: Served, trained: Trained, folder: Path) -> None:
    """Serve the version as `translator`."""
    manifest = folder / "model.yaml"
    files = {role: str(path) for role, path in trained.files.items()}
    declared = {"name": "translator", **trained.manifest, "files": files}
    manifest.write_text(yaml.safe_dump(declared, allow_unicode=True), "utf-8")
    served.client.register(manifest)
    served.client.deploy("translator", engine_options={"threads": 1})


def measured(written: Sequence[str], test: Pairs) -> list[str]:
    """chrF, BLEU and exact matches of all rows, and chrF of the longer ones."""
    wanted = [target for _, target in test]
    found = [f"{measure(written, wanted):.1f}" for measure in (chrf, bleu, exact_matches)]
    long = [at for at, (source, _) in enumerate(test) if len(source.split()) >= LONG_WORDS]
    if long:
        found.append(f"{chrf([written[at] for at in long], [wanted[at] for at in long]):.1f}")
    return [*found, *["-"] * (4 - len(found))]


def answered(
    served: Served, texts: Sequence[str], beams: int, clients: int
) -> tuple[list[str], float]:
    """Answers, a request each from so many clients at once, and texts per second."""

    def ask(text: str) -> str:
        return served.client.translate("translator", text, beams=beams).text

    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        found = list(pool.map(ask, texts))
        return found, len(texts) / (time.perf_counter() - started)


def main() -> None:
    """Train, serve, ask, compare, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", choices=sorted(ROWS), default="interface")
    parser.add_argument("--epochs", type=int, help="instead of the set's own")
    parser.add_argument("--test", type=int, help="only so many rows of the split test")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="for training")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    rows = ROWS[arguments.rows]()
    test = rows.splits["test"][: arguments.test]
    texts = [source for source, _ in test]
    changes = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained, seconds = train(rows, folder, arguments.seed, changes)
        compared = [
            ["the source itself", *measured(texts, test)],
            ["word for word", *measured([rows.baseline.translate(one) for one in texts], test)],
        ]
        speeds: list[list[str]] = []
        with modelry() as served:
            deploy(served, trained, folder)
            for beams in (1, 4):
                rates = []
                for clients in CLIENTS:
                    written, rate = answered(served, texts, beams, clients)
                    rates.append(f"{rate:.0f}")
                compared.append([f"trained, {beams} beam(s), served", *measured(written, test)])
                speeds.append([str(beams), *rates])
            examples = served.client.translate_many("translator", texts[:5])
    shown = {**rows.parameters, **changes}
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in rows.splits.items())
    machine.write(
        f"translation-{arguments.rows}",
        f"Translation: {rows.title}",
        [
            *machine.describe(PACKAGES),
            f"- rows: {counts}; {len(test)} of test asked",
            f"- parameters: {', '.join(f'{name} {value}' for name, value in shown.items())}",
            f"- trained in {seconds / 60:.1f} minutes on {arguments.threads} core(s)",
            (
                f"- parity: {trained.parity.max_abs:.1e} at most between log-probabilities, on "
                f"{trained.parity.rows} rows"
            ),
            "",
            *machine.table(
                ["answers", "chrF", "BLEU", "exact %", f"chrF, {LONG_WORDS} words and more"],
                compared,
            ),
            "",
            "Texts per second over HTTP, one text a request, on one core:",
            "",
            *machine.table(["beams", *(f"{one} clients" for one in CLIENTS)], speeds),
            "",
            *machine.table(
                ["source", "reference", "answer"],
                [
                    [source.replace("|", "/"), target.replace("|", "/"), one.text.replace("|", "/")]
                    for (source, target), one in zip(test, examples, strict=False)
                ],
            ),
        ],
    )


if __name__ == "__main__":
    main()
