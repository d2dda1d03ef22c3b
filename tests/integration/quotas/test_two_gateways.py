"""Two processes on one database share a limit, and a killed one takes its second with it only."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelry.adapters.sql.database import open_database
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.quotas import TENANT_WIDE, Quota, QuotaLimits
from modelry.services.quotas.exchange import EXCHANGE_S
from modelry.testing import samples

ROOT = Path(__file__).parents[3]
RATE, BURST, SECONDS = 40, 40, 5.0
LATE_S = 2.0
"""How much longer than `EXCHANGE_S` an exchange may take on a busy machine."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    made = f"sqlite:///{tmp_path}/modelry.db"
    database = open_database(made)
    samples.add_tenants(database)
    database.close()
    return made


def limit(url: str, **limits: float) -> None:
    database = open_database(url)
    quota = Quota(DEFAULT_TENANT_ID, TENANT_WIDE, QuotaLimits(**limits))  # type: ignore[arg-type]
    database.quotas.write(
        DEFAULT_TENANT_ID, lambda records: records.put(quota, "owner", samples.NOW)
    )
    database.close()


def started(url: str, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.quota_gateway", url, str(seconds)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def admitted(process: subprocess.Popen[str]) -> list[int]:
    out, _ = process.communicate(timeout=60)
    return [json.loads(line) for line in out.splitlines()]


def test_a_rate_is_shared(url: str) -> None:
    limit(url, requests_per_second=RATE, request_burst=BURST)
    pair = [started(url, SECONDS) for _ in range(2)]
    began = time.monotonic()
    go(*pair)
    each = [admitted(process)[-1] for process in pair]
    took_s = time.monotonic() - began
    single = RATE * took_s + BURST
    lag = BURST + RATE * (EXCHANGE_S + LATE_S)
    assert sum(each) <= single + lag
    assert sum(each) >= RATE * SECONDS * 0.5
    assert min(each) > 0


def test_a_budget_is_shared_and_outlives_a_kill(url: str) -> None:
    budget = 400
    limit(url, requests_per_day=budget)
    first = started(url, 60.0)
    go(first)
    assert first.stdout is not None
    told = json.loads(first.stdout.readline())
    assert told > 0
    first.kill()
    first.communicate(timeout=30)
    rest = started(url, 2.5)
    go(rest)
    after = admitted(rest)[-1]
    assert after <= budget - told
    if told + after < budget:
        assert after > 0
