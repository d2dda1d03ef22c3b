"""`make bench-chat-tuning`: a chat model fine-tuned on real e-mails, against itself before.

Starts Modelry, pulls the starter `assistant`, asks it through the chat door which of SpamAssassin's
e-mails are spam, fine-tunes it on others with the recipe `chat` in a job, and asks the tuned
version the same. No e-mail is on both sides, and as many of each kind are asked.

    python -m benchmarks.chat_tuning                         600 rows, a quarter of an hour
    python -m benchmarks.chat_tuning --rows 40 --test 10     the shortest run that says something
    python -m benchmarks.chat_tuning -p rank=16 -p epochs=2  other parameters
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.served import Served, modelry
from benchmarks.training_data import spam_assassin
from modelry.client import Client

BASE, DATASET, MODEL = "assistant", "emails", "spam-judge"
QUESTION = "Is this e-mail spam? Answer with one word, spam or ham.\n\n{text}"
PARAMETERS = {"epochs": 1, "batch_size": 8, "learning_rate": 5e-4, "max_tokens": 256}
PACKAGES = ["modelry", "torch", "gguf", "xllamacpp"]
_SPACE = re.compile(r"\s+")
Row = tuple[str, str]


@dataclass(frozen=True)
class Judged:
    """What a model said of some e-mails."""

    right: int
    unclear: int
    asked: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / self.asked


def shown(raw: str, characters: int) -> str:
    """Subject and beginning of an e-mail, without the headers that give it away."""
    parsed = email.message_from_string(raw, policy=email.policy.compat32)
    body = raw.partition("\n\n")[2]
    plain = _SPACE.sub(" ", re.sub(r"<[^>]*>", " ", body)).strip()
    subject = _SPACE.sub(" ", str(parsed.get("Subject", ""))).strip()
    return f"Subject: {subject}\n{plain}"[:characters]


def rows_of(count: int, test: int, characters: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn from and to ask, half of each kind, no text twice."""
    by_kind: dict[str, list[str]] = {"ham": [], "spam": []}
    seen: set[str] = set()
    for raw, kind in spam_assassin():
        text = shown(raw, characters)
        if text not in seen:
            seen.add(text)
            by_kind[kind].append(text)
    draw = random.Random(seed)
    learnt: list[Row] = []
    asked: list[Row] = []
    for kind, texts in by_kind.items():
        draw.shuffle(texts)
        asked += [(text, kind) for text in texts[: test // 2]]
        learnt += [(text, kind) for text in texts[test // 2 : test // 2 + count // 2]]
    draw.shuffle(learnt)
    draw.shuffle(asked)
    return learnt, asked


def written(rows: Sequence[Row], file: Path) -> Path:
    """The rows as OpenAI's fine-tuning takes them."""
    with file.open("w") as lines:
        for text, kind in rows:
            messages = [
                {"role": "user", "content": QUESTION.format(text=text)},
                {"role": "assistant", "content": kind},
            ]
            lines.write(json.dumps({"messages": messages}) + "\n")
    return file


def judged(client: Client, model: str, rows: Sequence[Row]) -> Judged:
    """Ask a deployment, one e-mail after the other."""
    client.deploy(model)
    client.wait_model_ready(model, timeout_s=180)
    right = unclear = 0
    began = time.perf_counter()
    for text, kind in rows:
        answer = client.chat(
            model, [{"role": "user", "content": QUESTION.format(text=text)}], max_tokens=8
        )
        words = {one for one in ("spam", "ham") if re.search(rf"\b{one}\b", answer.text.lower())}
        right += words == {kind}
        unclear += len(words) != 1
    return Judged(right, unclear, len(rows), time.perf_counter() - began)


def tuned(served: Served, rows: Sequence[Row], parameters: Mapping[str, Any], seed: int) -> Any:
    """Import the rows and train on them; the job when it has ended."""
    client = served.client
    with tempfile.TemporaryDirectory() as folder:
        client.datasets.import_([written(rows, Path(folder) / "train.jsonl")], DATASET)
    job = client.training.start(
        "chat", DATASET, MODEL, base=f"{BASE}@1", parameters=parameters, seed=seed, threads=1
    )
    job.wait()
    print("\n".join(one.line for one in job.log()), flush=True)
    return job


def report(
    before: Judged,
    after: Judged,
    job: Any,
    told: Mapping[str, Any],
) -> None:
    """Print and write the table."""
    outcome = job.outcome
    rows = [
        [name, f"{one.accuracy:.3f}", str(one.unclear), f"{1000 * one.seconds / one.asked:.0f}"]
        for name, one in (("before", before), ("after", after))
    ]
    measured = {name: round(value, 4) for name, value in outcome["metrics"].items()}
    lines = [
        f"base: SmolLM2-135M-Instruct (Q4_1); parameters: {json.dumps(dict(told['parameters']))}",
        (
            f"{told['learnt']} e-mails learnt, {before.asked} others asked, half of them spam "
            f"(guessing: 0.500), {told['characters']} characters each"
        ),
        f"training in a job, on one core: {told['seconds']:.0f} s with reading and checking",
        f"held-out rows: {json.dumps(measured)}",
        f"parity: {json.dumps(outcome['parity'])}",
    ]
    machine.write(
        "chat-tuning",
        "A chat model fine-tuned on real e-mails",
        [
            *machine.describe(PACKAGES),
            *(f"- {one}" for one in lines),
            "",
            *machine.table(["model", "accuracy", "unclear answers", "ms per answer"], rows),
        ],
    )
    print(Path("benchmarks/results/chat-tuning.md").read_text())


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--characters", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-p", dest="parameters", action="append", type=_setting, default=[])
    given = parser.parse_args()
    parameters = PARAMETERS | dict(given.parameters)
    learnt, asked = rows_of(given.rows, given.test, given.characters, given.seed)
    with modelry() as served:
        served.client.pull(BASE)
        before = judged(served.client, BASE, asked)
        print(f"before: {before.accuracy:.3f}, {before.unclear} unclear", flush=True)
        began = time.perf_counter()
        job = tuned(served, learnt, parameters, given.seed)
        seconds = time.perf_counter() - began
        after = judged(served.client, MODEL, asked)
        print(f"after: {after.accuracy:.3f}, {after.unclear} unclear", flush=True)
    report(
        before,
        after,
        job,
        {
            "parameters": parameters,
            "learnt": len(learnt),
            "characters": given.characters,
            "seconds": seconds,
        },
    )


if __name__ == "__main__":
    main()
