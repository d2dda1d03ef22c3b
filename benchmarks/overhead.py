"""`make bench-overhead`: what authorisation, limits and metering cost on the tensor hot path.

The whole way of a request through the gateway is measured in this process: the same bytes come in
on a connection, and a replica answers at once. Connections with everything on, with different
limits set, and one without authorisation, limits and metering take turns, so that what the machine
does meanwhile meets all of them alike; what the parts cost is the median of the differences.

That is told as a share of what a request without these parts costs a real server: the CPU time of
its gateway (HTTP, sockets, event loop) and of its worker, under load. Real servers without and with
these parts take turns, too, and are compared as a whole. That tells how the parts do where the
processor's caches are not theirs alone, but what else the machine does shows much more, and two
servers that were started from the same code differ by a few percent, as their memory happens to
lie: they are started anew several times.

With `--key-check` it measures instead whether the time that a key's check takes tells anything
about the key: Welch's t between keys that share all but the last character with a valid one and
keys that share nothing with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import statistics
import string
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks import machine, tiny_cnn, wrk
from benchmarks.hot_path import Connection, Keys
from benchmarks.served import Served, modelry
from benchmarks.tensor import cases
from modelry.client import Client
from modelry.domain.errors import Unauthenticated
from modelry.domain.quotas import QuotaLimits
from modelry.services.inference.authentication import Authenticator
from modelry.services.tenancy.tokens import make_token

GOAL = 0.10
T_THRESHOLD = 4.5
"""The usual bound of leakage tests: below it, no difference was found."""
UNUSED = 10**9
NO_LIMIT = "no limit"
ALL_LIMITS = "rate and budget of key and tenant"
CONNECTIONS = 32


def one_limit(*, rate: bool, budget: bool) -> QuotaLimits:
    """Limits that no request meets, but that each one changes: what is left is told in its answer.

    The bucket is never full, as it would be with a rate above that of the benchmark.
    """
    return QuotaLimits(
        requests_per_second=1000 if rate else None,
        request_burst=UNUSED if rate else None,
        requests_per_day=UNUSED if budget else None,
    )


def connections() -> dict[str, Connection]:
    """The connections to compare; the first is without the parts that are measured."""
    rate, both = one_limit(rate=True, budget=False), one_limit(rate=True, budget=True)
    return {
        "bare": Connection(is_bare=True),
        NO_LIMIT: Connection(is_bare=False),
        "a rate of the key": Connection(is_bare=False, key=rate),
        "rate and budget of the key": Connection(is_bare=False, key=both),
        ALL_LIMITS: Connection(is_bare=False, key=both, tenant=both),
    }


async def costs(turns: int, count: int) -> dict[str, float]:
    """Seconds per request that the parts cost, by the limits that are set."""
    compared = connections()
    found: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(turns):
        bare, *others = [one.seconds_per_request(count) for one in compared.values()]
        for name, seconds in zip(list(compared)[1:], others, strict=True):
            found[name].append(seconds - bare)
        found["bare"].append(bare)
    return {name: statistics.median(values) for name, values in found.items()}


class Request(NamedTuple):
    """CPU seconds that a request of a real server costs its gateway, and its worker."""

    gateway: float
    worker: float


class Loaded:
    """A real server with the tiny CNN, to be put under load several times."""

    def __init__(self, served: Served, folder: Path) -> None:
        model = tiny_cnn.build(folder / "tiny-cnn.onnx")
        served.client.register(model, name="tiny-cnn")
        served.client.deploy("tiny-cnn")
        served.client.wait_model_ready("tiny-cnn")
        self._case = cases(served)[0]
        self._load(1)  # until the worker is warm
        gateway = psutil.Process(served.pid)
        self._processes = [gateway, *gateway.children(recursive=True)]

    def request(self, seconds: int) -> Request:
        """What a request costs under load."""
        before = [cpu_of(one) for one in self._processes]
        load = self._load(seconds)
        after = [cpu_of(one) for one in self._processes]
        count = load.rate * seconds
        used = [(end - start) / count for start, end in zip(before, after, strict=True)]
        return Request(used[0], sum(used[1:]))

    def _load(self, seconds: int) -> wrk.Load:
        load = wrk.run(self._case.url, self._case.body, self._case.headers, CONNECTIONS, seconds)
        if load.failed:
            raise SystemExit(f"{load.failed} requests failed.")
        return load


def set_limits(served: Served) -> None:
    """Give the key and its tenant a rate and a budget."""
    limits = one_limit(rate=True, budget=True).set_values()
    served.client.quotas.set_tenant("default", **limits)
    key_id = served.client.quotas.mine()[0].key_id
    assert key_id is not None  # the key's own limits come first
    other = served.client.keys.create("other", role="owner")  # no key may change its own limits
    Client(url=served.url, api_key=other.token).quotas.set_key(key_id, **limits)


def cpu_of(process: psutil.Process) -> float:
    """Seconds that it worked."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Loaded]]:
    """Real servers to compare; the first is without the parts that are measured."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bare = stack.enter_context(modelry("benchmarks.bare_server"))
        unlimited = stack.enter_context(modelry())
        limited = stack.enter_context(modelry())
        set_limits(limited)
        yield {
            "bare": Loaded(bare, folder),
            NO_LIMIT: Loaded(unlimited, folder),
            ALL_LIMITS: Loaded(limited, folder),
        }


def measure(
    starts: int, rounds: int, seconds: int, of_parts: tuple[int, int]
) -> tuple[list[dict[str, float]], list[dict[str, Request]]]:
    """What the parts cost in this process, and what requests cost real servers, by rounds.

    Args:
        starts: how often the servers are started.
        rounds: with the same servers.
        seconds: of load on each server in a round.
        of_parts: turns, and requests of a turn, in this process in a round.
    """
    found: list[dict[str, float]] = []
    requests: list[dict[str, Request]] = []
    for _ in range(starts):
        with servers() as loaded:
            for _ in range(rounds):
                found.append(asyncio.run(costs(*of_parts)))
                requests.append({name: one.request(seconds) for name, one in loaded.items()})
                _tell(len(found), found[-1], requests[-1])
    return found, requests


def _tell(number: int, found: dict[str, float], requests: dict[str, Request]) -> None:
    parts = ", ".join(f"{name} {value * 1e6:.2f} us" for name, value in found.items())
    whole = ", ".join(
        f"{name} {one.gateway * 1e6:.1f} + {one.worker * 1e6:.1f} us"
        for name, one in requests.items()
    )
    print(f"round {number}: {whole}; in this process: {parts}", flush=True)


def overhead(starts: int, rounds: int, seconds: int, of_parts: tuple[int, int]) -> None:
    """Measure and write the tables."""
    found, requests = measure(starts, rounds, seconds, of_parts)
    turns, count = of_parts
    bare = [one["bare"] for one in requests]
    rows = [
        [
            name,
            f"{statistics.median(one[name] for one in found) * 1e6:.2f}",
            f"{_share(name, found, [sum(one) for one in bare]):.1%}",
            f"{_share(name, found, [one.gateway for one in bare]):.1%}",
        ]
        for name in list(found[0])[1:]
    ]
    served_rows = [
        [
            name,
            f"{statistics.median(one[name].gateway for one in requests) * 1e6:.1f}",
            f"{statistics.median(one[name].worker for one in requests) * 1e6:.1f}",
            f"{statistics.median(sum(one[name]) / sum(one['bare']) for one in requests) - 1:+.1%}",
        ]
        for name in requests[0]
    ]
    lines = [
        *machine.describe(["modelry", "uvicorn", "uvloop"]),
        f"- medians of {len(found)} rounds, in each of {turns} turns of {count} requests",
        "- 'bare' is a request without these parts, of the tiny CNN (batch 1 of 28 x 28)",
        f"- goal: at most {GOAL:.0%} of a bare request, as its gateway and its worker work for it",
        "",
        "The parts, on a connection in one process:",
        "",
        *machine.table(
            ["authorisation, metering and", "us per request", "of a bare request",
             "of its gateway's part alone"],
            rows,
        ),
        "",
        f"Real servers in turns, started {starts} times, {CONNECTIONS} connections, noisy machine:",
        "",
        *machine.table(
            ["authorisation, metering and", "us of CPU in the gateway", "in the worker",
             "more than bare"],
            served_rows,
        ),
    ]  # fmt: skip
    machine.write("overhead", "Authorisation, limits and metering on the tensor hot path", lines)


def _share(name: str, found: Sequence[dict[str, float]], bare: Sequence[float]) -> float:
    """What the parts cost in relation to a request without them."""
    return statistics.median(one[name] / request for one, request in zip(found, bare, strict=True))


def welch_t(first: Sequence[float], second: Sequence[float]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(spread or 1e-30)


def _near(token: str, chosen: random.Random) -> str:
    """A wrong key that differs from `token` in its last characters alone."""
    while True:
        made = token[:-4] + "".join(chosen.choices(string.ascii_letters + string.digits, k=4))
        if made != token:
            return made


def key_check(count: int) -> None:
    """Measure and write whether wrong keys can be told apart by time."""
    keys = Keys()
    authenticator = Authenticator(keys.tenancy)
    chosen = random.Random(0)
    headers = [
        *[("all but the last characters", _near(keys.token, chosen)) for _ in range(count)],
        *[("nothing", make_token("live", "otherkey0000")) for _ in range(count)],
    ]
    chosen.shuffle(headers)
    ready = [(name, b"Bearer " + token.encode()) for name, token in headers]
    times: dict[str, list[float]] = {name: [] for name, _ in headers}
    for name, header in ready:
        started = time.perf_counter_ns()
        try:
            authenticator.from_header(header)
        except Unauthenticated:
            times[name].append(time.perf_counter_ns() - started)
    cut = statistics.quantiles([one for found in times.values() for one in found], n=100)[94]
    kept = {name: [one for one in found if one <= cut] for name, found in times.items()}
    t = welch_t(*kept.values())
    rows = [
        [name, str(len(found)), f"{statistics.fmean(found) / 1000:.3f}"]
        for name, found in kept.items()
    ]
    verdict = "no difference was found" if abs(t) < T_THRESHOLD else "A DIFFERENCE WAS FOUND"
    lines = [
        *machine.describe(["modelry"]),
        "- measured keys in random order, the slowest 5 % of all left out",
        f"- Welch's t = {t:.2f}, threshold |t| = {T_THRESHOLD}: {verdict}",
        "",
        *machine.table(["what a wrong key shares with a valid one", "checks", "mean us"], rows),
    ]
    machine.write("key-check", "Time that the check of a wrong key takes", lines)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=1, help="of the real servers")
    parser.add_argument("--rounds", type=int, default=3, help="with each start")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--count", type=int, help="requests of a turn, or checks of each kind")
    parser.add_argument("--key-check", action="store_true")
    given = parser.parse_args()
    if given.key_check:
        key_check(given.count or 100_000)
    else:
        wrk.require()
        of_parts = (given.turns, given.count or 500)
        overhead(given.starts, given.rounds, given.seconds, of_parts)


if __name__ == "__main__":
    main()
