"""Models that are asked while something else goes on, which benchmarks of their latency share.

A small CNN and MiniLM are asked over V2 binary at a fixed rate, and SmolLM2 streams chat.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks import chat, compute_bound, paced, weights
from benchmarks.served import Served
from benchmarks.streams import Endpoint, Load, body, load
from benchmarks.tensor import binary_request
from modelry.runtimes.llamacpp.settings import SPIN_COUNT

SMALL, LARGE = "tiny-cnn", "minilm"
TOKENS = 48
SETTLE_S = 1.0


@dataclass(frozen=True)
class Asked:
    """A model that is asked at a fixed rate, and the request."""

    what: str
    request: Path
    rate: float


@dataclass
class Figures:
    """What was seen of one model: milliseconds by round, alone and beside what goes on."""

    alone: list[paced.Seen] = field(default_factory=list)
    beside: list[paced.Seen] = field(default_factory=list)

    def row(self) -> list[str]:
        """Medians of the rounds, and of their ratios."""

        def middle(values: Iterator[float]) -> float:
            return statistics.median(values)

        pairs = list(zip(self.alone, self.beside, strict=True))
        return [
            f"{middle(one.p50_ms for one in self.alone):.2f}",
            f"{middle(one.p50_ms for one in self.beside):.2f}",
            f"{middle(one.p99_ms for one in self.alone):.2f}",
            f"{middle(one.p99_ms for one in self.beside):.2f}",
            f"{middle(two.p50_ms / one.p50_ms for one, two in pairs):.2f}",
            f"{middle(two.p99_ms / one.p99_ms for one, two in pairs):.2f}",
            str(sum(one.failed for pair in pairs for one in pair)),
        ]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What can be said of the asking."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each model asked at a rate")
    parser.add_argument("--answers", type=int, default=5, help="of chat, one after the other")
    parser.add_argument("--rate", type=float, default=200, help="requests/s of the small CNN")
    parser.add_argument("--slow-rate", type=float, default=15, help="requests/s of MiniLM")
    return parser


def rates_of(given: argparse.Namespace) -> dict[str, float]:
    """Requests per second by model."""
    return {SMALL: given.rate, LARGE: given.slow_rate}


def serve_all(
    served: Served, folder: Path, rates: Mapping[str, float]
) -> tuple[list[Asked], Endpoint]:
    """Deploy MiniLM and the model that chats, beside the small CNN that is deployed already."""
    client = served.client
    large = weights.packaged_file(compute_bound.MINILM)
    client.register(large, name=LARGE, task="tensor")
    client.deploy(LARGE)
    for name in (SMALL, LARGE):
        client.wait_model_ready(name)
    image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
    content, headers = binary_request(image)
    headers = {"Authorization": f"Bearer {served.key}", **headers}
    requests = {
        SMALL: (f"{served.url}/v2/models/{SMALL}/infer", content, headers),
        LARGE: compute_bound.request(served, LARGE, large),
    }
    named = {SMALL: "tensor: small CNN", LARGE: "tensor: MiniLM, 64 tokens"}
    asked = []
    for name, parts in requests.items():
        file = folder / f"{name}.request"
        file.write_bytes(paced.raw(*parts))
        asked.append(Asked(f"{named[name]}, {rates[name]:g}/s", file, rates[name]))
    talker = chat.serve(
        served, "smollm2", weights.packaged_file(weights.SMOLLM2_Q4_1), {"spin": SPIN_COUNT}
    )
    return asked, talker


def ask_all(
    asked: Sequence[Asked], talker: Endpoint, seconds: float, answers: int, number: int
) -> dict[str, paced.Seen]:
    """One look at every model, one after the other."""
    port = urlsplit(talker.url).port or 0
    found = {
        one.what: paced.seen_by(paced.started(one.request, port, one.rate, seconds))
        for one in asked
    }
    requests = [
        body("", chat.SYSTEM, chat.prompt(number * answers + at, words=40), TOKENS)
        for at in range(answers)
    ]
    seen: Load = asyncio.run(load(talker, requests, 1))
    first = sorted(one.pieces_s[0] * 1e3 for one in seen.timings)
    found["chat: first token"] = paced.Seen(statistics.median(first), first[-1], 0)
    found["chat: between tokens"] = paced.Seen(seen.between_ms(0.5), seen.between_ms(0.99), 0)
    return found


def figures_head(beside: str) -> list[str]:
    """The head of the columns of `Figures.row`."""
    return ["p50 ms", beside, "p99 ms", beside, "x p50", "x p99", "failed"]


def how_asked(given: argparse.Namespace) -> list[str]:
    """Lines that tell how it was asked."""
    return [
        f"- tensors: {given.seconds:g} s a round, open loop, latency from when due",
        f"- chat: {given.answers} answers of {TOKENS} tokens a round, one at a time",
        "- p99 of first tokens: the slowest one of a round",
    ]
