"""What was used: one record per request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

REQUESTS = "requests"
DURATION = "duration_us"
ENGINE = "engine_us"
"""Units that do not depend on the task: requests, microseconds from arrival to the end, and the
request's share of the microseconds in which its replica was busy. Besides them the tasks count
`input_tokens`, `output_tokens`, `cached_tokens`, `images`, `rows` and `items`."""


CPU = "cpu_us"
"""Microseconds of processor time, which the processes of jobs are metered by beside `engine_us`."""


@dataclass(frozen=True, slots=True)
class Compute:
    """What processes of work used.

    Attributes:
        engine_us: microseconds for which they were there.
        cpu_us: microseconds of processor time, all cores together, as the kernel counts them.
    """

    engine_us: int = 0
    cpu_us: int = 0

    def __add__(self, other: Compute) -> Compute:
        return Compute(self.engine_us + other.engine_us, self.cpu_us + other.cpu_us)

    def __sub__(self, other: Compute) -> Compute:
        return Compute(self.engine_us - other.engine_us, self.cpu_us - other.cpu_us)

    def __bool__(self) -> bool:
        """Whether it is anything."""
        return bool(self.engine_us or self.cpu_us)


NO_COMPUTE = Compute()


REFUSED = frozenset({"quota_exceeded", "budget_exceeded", "overloaded"})
"""How requests ended that limits or a lack of room refused."""


def paid_units(status: str, units: Mapping[str, int]) -> Mapping[str, int]:
    """What of the units of requests that ended with `status` has a cost.

    To be refused is free, or who is over a budget would spend on by asking again. What parts of a
    request used that were admitted before others were refused is paid.
    """
    if status not in REFUSED:
        return units
    return {unit: count for unit, count in units.items() if unit not in (REQUESTS, DURATION)}


MAX_UNITS = 16
MAX_COUNT = 2**40
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,39}")


def counted(told: object) -> dict[str, int]:
    """What an engine says that it used, as far as it can be so.

    Engines may come from anybody: what is no count of a well-named unit is left out, or one of
    them could spoil the records of all.
    """
    if not isinstance(told, Mapping):
        return {}
    sound = {
        unit: count
        for unit, count in told.items()
        if isinstance(unit, str)
        and _UNIT.fullmatch(unit)
        and unit not in (REQUESTS, DURATION, ENGINE)
        and type(count) is int
        and 0 <= count <= MAX_COUNT
    }
    return dict(list(sound.items())[:MAX_UNITS])


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What answers: one version in one deployment, as it was when it answered.

    `tenant_id` is the deployment's owner. `graph_digest` is of the processing around the engine.
    Origins are told apart as objects: each replica group has its own.
    """

    tenant_id: str
    deployment: str
    model: str
    version_number: int
    task: str
    version_digest: str = ""
    graph_digest: str = ""
    engine_options: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def name_for(self, tenant_id: str) -> str:
        """The deployment's name as callers of `tenant_id` write it."""
        shared = tenant_id != self.tenant_id and bool(self.tenant_id)
        return f"{self.deployment}@{self.tenant_id}" if shared else self.deployment


NOWHERE = Origin("", "", "", 0, "")
"""Of requests that were refused before it was known which deployment they were for."""


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One request as the ledger keeps it.

    `tenant_id` is whose record it is. A request to another tenant's shared deployment leaves two:
    the caller's, which is the one that is paid for and tells nothing of the owner's installation,
    and the owner's, whose `caller` is the tenant that called and which tells no key of it. `status`
    is `ok` or an error code. The digests, the replica and the options say what made the answer;
    `parameters` are the numbers and switches that the request chose, never its texts.
    """

    request_id: str
    tenant_id: str
    caller: str
    key_id: str
    deployment: str
    model: str
    version_number: int
    task: str
    status: str
    started_at: datetime
    duration_us: int
    units: Mapping[str, int] = field(default_factory=dict)
    replica_id: str = ""
    version_digest: str = ""
    graph_digest: str = ""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
