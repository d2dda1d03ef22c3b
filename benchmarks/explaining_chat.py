"""`make bench-explain-chat`: whether explanations of chats find the fact that was answered from.

Made cases: one fact that answers a question, among ten that do not, in a real chat model. Where the
model itself answers right, the fact's sentence should have the largest weight (issue: in 80 %).
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, weights
from benchmarks.served import modelry
from modelry import Client

SYSTEM = "You are a helpful assistant."
NAMES = (
    *("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ivy", "Jack"),
    *("Kate", "Leo", "Mary", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Victor"),
)
RELATIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("{name} works as a {value}.", "What does {name} work as?",
     ("dentist", "baker", "pilot", "teacher", "plumber", "lawyer")),
    ("{name} lives in {value}.", "Where does {name} live?",
     ("Madrid", "Oslo", "Cairo", "Lima", "Boston", "Vienna")),
    ("The favourite colour of {name} is {value}.", "What is the favourite colour of {name}?",
     ("green", "purple", "orange", "yellow", "brown", "pink")),
    ("{name} plays the {value}.", "Which instrument does {name} play?",
     ("violin", "piano", "trumpet", "flute", "guitar", "harp")),
    ("{name} has a pet {value}.", "Which pet does {name} have?",
     ("parrot", "rabbit", "turtle", "hamster", "goat", "snake")),
    ("{name} speaks {value} at home.", "Which language does {name} speak at home?",
     ("Polish", "Turkish", "Swahili", "Korean", "Greek", "Danish")),
    ("{name} drives a {value} car.", "What colour is the car of {name}?",
     ("red", "blue", "black", "white", "silver", "golden")),
)  # fmt: skip
DISTRACTORS = 10


@dataclass(frozen=True, slots=True)
class Case:
    """A question about one of several facts."""

    facts: tuple[str, ...]
    place: int
    question: str
    value: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """As a chat."""
        told = f"{' '.join(self.facts)}\n{self.question}"
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": told}]


def made_case(seed: int) -> Case:
    """A fact and ten of other people, in random order."""
    chance = random.Random(seed)
    names = chance.sample(NAMES, DISTRACTORS + 1)
    place = chance.randrange(DISTRACTORS + 1)
    facts = []
    asked = ("", "")
    for at, name in enumerate(names):
        fact, question, values = chance.choice(RELATIONS)
        value = chance.choice(values)
        facts.append(fact.format(name=name, value=value))
        if at == place:
            asked = (question.format(name=name), value)
    return Case(tuple(facts), place, *asked)


@dataclass(slots=True)
class Found:
    """What an explanation said of a case that the model answered right."""

    rank: int
    """Of the fact's sentence among the eleven; 0 is the first."""
    is_first_of_all: bool
    """Whether it is before the question, too."""
    is_better_than_random: bool | None
    seconds: float
    calls: int
    cached: float


def right_answer(client: Client, model: str, case: Case) -> str | None:
    """What the model answers, where it has the value and no other one of the facts."""
    answer = client.chat(model, case.messages, max_tokens=24, temperature=0).text
    others = [fact for at, fact in enumerate(case.facts) if at != case.place]
    values = {value for _, _, known in RELATIONS for value in known if value in " ".join(others)}
    said_others = any(value in answer for value in values - {case.value})
    return answer if case.value in answer and not said_others else None


def explained(client: Client, model: str, case: Case, answer: str, target: str | None) -> Found:
    """Explain a right answer, with a check for every case."""
    told = client.explain(
        model, messages=case.messages, answer=answer, target=target, within=[1], level="sentences"
    )
    segments: list[Any] = list(told.attribution["segments"])
    weight = [one["weight"] for one in segments]
    mine = weight[case.place]
    checked = told.faithfulness
    return Found(
        rank=sum(one > mine for one in weight[: DISTRACTORS + 1]),
        is_first_of_all=mine == max(weight),
        is_better_than_random=None if checked is None else bool(checked["is_better_than_random"]),
        seconds=float(told.cost["seconds"]),
        calls=int(told.cost["model_calls"]),
        cached=told.usage.get("cached_tokens", 0) / told.usage["input_tokens"],
    )


def row(name: str, found: list[Found]) -> list[str]:
    """One line of the table."""

    def share(wanted: list[bool]) -> str:
        return f"{100 * statistics.mean(wanted):.0f} %"

    return [
        name,
        str(len(found)),
        share([one.rank == 0 for one in found]),
        share([one.is_first_of_all for one in found]),
        share([bool(one.is_better_than_random) for one in found]),
        f"{statistics.median(one.calls for one in found):.0f}",
        f"{statistics.median(one.seconds for one in found):.1f}",
        f"{100 * statistics.mean(one.cached for one in found):.0f} %",
    ]


def main() -> None:
    """Measure and write benchmarks/results/explaining-chat.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cases", type=int, default=40, help="that the model answers right")
    parser.add_argument("--most", type=int, default=400, help="cases that are tried")
    parser.add_argument("--dry", action="store_true", help="write no table")
    chosen = parser.parse_args()
    path = weights.packaged_file(weights.SMOLLM2_Q4_1)
    whole: list[Found] = []
    aimed: list[Found] = []
    tried = 0
    with modelry() as served, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.gguf").symlink_to(path)
        manifest = Path(folder) / "model.yaml"
        manifest.write_text(
            "name: smollm2\ntask: chat\nruntime: llamacpp\nfiles: {model: model.gguf}\n"
            f"defaults: {{system: {SYSTEM}}}\nlimits: {{context: 1024}}\n"
        )
        client = served.client
        client.register(manifest)
        client.deploy("smollm2", engine_options={"slots": 4})
        client.wait_model_ready("smollm2")
        while len(whole) < chosen.cases and tried < chosen.most:
            case = made_case(tried)
            tried += 1
            answer = right_answer(client, "smollm2", case)
            if answer is None:
                continue
            whole.append(explained(client, "smollm2", case, answer, None))
            aimed.append(explained(client, "smollm2", case, answer, case.value))
            print(f"case {tried}: {answer!r}: {whole[-1]} {aimed[-1]}", flush=True)
    if not whole:
        raise SystemExit(f"The model answered none of {tried} cases right.")
    lines = [
        *machine.describe(["modelry", "xllamacpp"]),
        (
            f"- model: SmolLM2-135M-Instruct, Q4_1; {tried} made cases of a fact among "
            f"{DISTRACTORS} others, of which it answers {len(whole)} right; sentences left out one "
            "by one, and the check of each explanation"
        ),
        "",
        *machine.table(
            ["explained", "cases", "the fact is first of the facts", "and before the question",
             "better than random orders", "calls", "seconds", "prompt tokens from the cache"],
            [row("the whole answer", whole), row("the word asked for", aimed)],
        ),
    ]  # fmt: skip
    if not chosen.dry:
        machine.write("explaining-chat", "Explanations of chats: is the fact found?", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
