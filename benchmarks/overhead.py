"""`make bench-overhead`: what authorisation, limits and metering cost on the tensor hot path.

The hot route answers the same bytes on a connection in this process, with a replica that answers
at once, so that nothing else is measured; in each round with everything on, and with each part
replaced by one that does nothing. The parts are replaced here, in the benchmark's own wiring: the
product has no such switch. What the parts take is then told as a share of what a whole request
takes through a real server, measured in the same round.

With `--key-check` it measures instead whether the time that a key's check takes tells anything
about the key: Welch's t between keys that share all but the last character with a valid one and
keys that share nothing with it.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import string
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import machine, tiny_cnn, wrk
from benchmarks.served import modelry
from benchmarks.tensor import cases
from modelry.domain.access import ApiKey, Principal, Role, effective_permissions
from modelry.domain.deployments import Limits
from modelry.domain.errors import Unauthenticated
from modelry.domain.quotas import TENANT_WIDE, QuotaLimits
from modelry.protocols.http.limits import header_lines
from modelry.runtime_api.frames import Kind
from modelry.services.inference.authentication import Authenticator
from modelry.services.inference.call import Call
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.request_ids import new_request_id
from modelry.services.quotas.accounts import Accounts
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.tokens import make_token
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import add_tenants

GOAL = 0.10
T_THRESHOLD = 4.5
"""The usual bound of leakage tests: below it, no difference was found."""
WHO = Principal("default", "owner", Role.OWNER, effective_permissions("default", Role.OWNER))
UNUSED_LIMIT = 1e9


class AnsweredCall(Call):
    """A call whose answer goes nowhere."""

    __slots__ = ()

    @property
    def request_id(self) -> str:
        """A fresh one, as on the hot path."""
        return new_request_id().decode()

    def on_result(self, header: bytes, body: bytes) -> None:
        """Nothing."""


class InstantLink:
    """A replica that answers in the same moment."""

    replica_id = "instant"
    capacity = 1 << 30
    in_flight = 0
    engine_clock = 0.0

    def send(self, call: Call) -> None:
        """Answer."""
        call.engine_from = 0.0
        call.finish(b"{}", b"")

    def cancel(self, call: Call) -> None:
        """Nothing is left to cancel."""


class FreeAccount:
    """Admits everything and counts nothing."""

    gates = ()

    def check(self, *_: Any) -> None:
        """Admit."""

    def begin(self, *_: Any) -> tuple[()]:
        """Begin."""
        return ()

    def end(self, *_: Any) -> None:
        """End."""


class FreeAccounts:
    """One free account for everybody."""

    def __init__(self) -> None:
        self._one = FreeAccount()

    def of(self, _: Principal) -> FreeAccount:
        """The account."""
        return self._one


class UnmeteredGroup(ReplicaGroup):
    """Records nothing but that a call is over."""

    def record(self, call: Call, status: str) -> None:
        """Forget it."""
        del status
        self._open.discard(call)


def accounts(limits: QuotaLimits | None) -> Accounts:
    """Accounts on which the caller has these limits."""
    made = Accounts()
    if limits is not None:
        made.apply({("default", TENANT_WIDE): limits, ("default", "owner"): limits})
    return made


def group_of(cls: type[ReplicaGroup], of: Any) -> ReplicaGroup:
    """A ready group."""
    group = cls(("default", "d", 1, "tensor"), Limits(), of, lambda: None)
    group.attach(InstantLink())
    return group


def seconds_per_call(group: ReplicaGroup, count: int) -> float:
    """How long a call takes through `group`, as the median of ten parts."""
    kind = int(Kind.INFER)
    parts = []
    for _ in range(10):
        started = time.thread_time()
        for _ in range(count // 10):
            group.submit(AnsweredCall(WHO, kind, b"{}"))
        parts.append((time.thread_time() - started) / (count // 10))
        group.meter.take()
    return statistics.median(parts)


def seconds_per_headers(bounded: Accounts, count: int) -> float:
    """How long it takes to write what is left of limits."""
    account = bounded.of(WHO)
    started = time.thread_time()
    for _ in range(count):
        header_lines(account)
    return (time.thread_time() - started) / count


class Keys:
    """One valid key, for an authenticator."""

    def __init__(self) -> None:
        database = MemoryDatabase()
        add_tenants(database)
        self.tenancy = TenancyService(database.keys, b"p" * 32)
        made = self.tenancy.ensure_owner_key(make_token("live", "benchmark000"))
        assert made is not None
        self.token = made.token
        self.key: ApiKey = made.key


def seconds_per_check(authenticator: Authenticator, header: bytes, count: int) -> float:
    """How long it takes to see that a header still holds."""
    admission = authenticator.admit(header)
    started = time.thread_time()
    for _ in range(count):
        authenticator.still_holds(admission)
    return (time.thread_time() - started) / count


async def costs(count: int) -> dict[str, float]:
    """Seconds per request of each part."""
    bare = seconds_per_call(group_of(UnmeteredGroup, FreeAccounts()), count)
    metered = seconds_per_call(group_of(ReplicaGroup, FreeAccounts()), count)
    counted = seconds_per_call(group_of(ReplicaGroup, accounts(None)), count)
    rate = QuotaLimits(requests_per_second=UNUSED_LIMIT)
    keyed = Accounts()
    keyed.apply({("default", "owner"): rate})
    rate_only = seconds_per_call(group_of(ReplicaGroup, keyed), count)
    rate_only += seconds_per_headers(keyed, count)
    both = accounts(replace(rate, requests_per_day=int(UNUSED_LIMIT)))
    limited = seconds_per_call(group_of(ReplicaGroup, both), count)
    limited += seconds_per_headers(both, count)
    keys = Keys()
    header = b"Bearer " + keys.token.encode()
    return {
        "authorisation": seconds_per_check(Authenticator(keys.tenancy), header, count),
        "metering": metered - bare,
        "limits, none set": counted - metered,
        "limits, rate of the key": rate_only - metered,
        "limits, rate and budget of key and tenant": limited - metered,
    }


def request_cpu(seconds: int) -> float:
    """Seconds that the gateway works for one request of a real server under load."""
    import psutil

    with tempfile.TemporaryDirectory() as folder, modelry() as served:
        model = tiny_cnn.build(Path(folder) / "tiny-cnn.onnx")
        served.client.register(model, name="tiny-cnn")
        served.client.deploy("tiny-cnn")
        served.client.wait_model_ready("tiny-cnn")
        case = cases(served)[0]
        gateway = psutil.Process(served.pid)
        before = sum(gateway.cpu_times()[:2])
        load = wrk.run(case.url, case.body, case.headers, 32, seconds)
        return float(sum(gateway.cpu_times()[:2]) - before) / (load.rate * seconds)


def overhead(rounds: int, seconds: int, count: int) -> None:
    """Measure and write the table."""
    found: list[dict[str, float]] = []
    whole: list[float] = []
    for number in range(rounds):
        found.append(asyncio.run(costs(count)))
        whole.append(request_cpu(seconds))
        told = ", ".join(f"{name} {value * 1e6:.2f} us" for name, value in found[-1].items())
        print(f"round {number + 1}: request {whole[-1] * 1e6:.1f} us; {told}", flush=True)
    rows = [
        [
            name,
            f"{statistics.median(one[name] for one in found) * 1e6:.2f}",
            f"{_share([name], found, whole):.1%}",
        ]
        for name in found[0]
    ]
    for last in list(found[0])[2:]:
        label = f"all, with {last}"
        parts = ["authorisation", "metering", last]
        cost = statistics.median(sum(one[part] for part in parts) for one in found)
        rows.append([label, f"{cost * 1e6:.2f}", f"{_share(parts, found, whole):.1%}"])
    request_us = statistics.median(whole) * 1e6
    lines = [
        *machine.describe(["modelry", "uvicorn", "uvloop"]),
        f"- medians of {rounds} rounds; a whole request takes {request_us:.1f} us of the gateway",
        f"- goal: at most {GOAL:.0%} of the request without these parts",
        "",
        *machine.table(["part", "us per request", "of the rest"], rows),
    ]
    machine.write("overhead", "Authorisation, limits and metering on the tensor hot path", lines)


def _share(
    parts: Sequence[str], found: Sequence[dict[str, float]], whole: Sequence[float]
) -> float:
    """What the parts take, in relation to the rest of a request; the server has no limits set."""
    always = ("authorisation", "metering", "limits, none set")
    return statistics.median(
        sum(one[part] for part in parts) / (request - sum(one[part] for part in always))
        for one, request in zip(found, whole, strict=True)
    )


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--key-check", action="store_true")
    given = parser.parse_args()
    if given.key_check:
        key_check(given.count)
    else:
        wrk.require()
        overhead(given.rounds, given.seconds, given.count)


if __name__ == "__main__":
    main()
