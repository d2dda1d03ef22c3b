"""What usage needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class UsageGroup(StrEnum):
    """What totals can be told apart by."""

    KEY = "key_id"
    DEPLOYMENT = "deployment"
    VERSION = "version_number"
    TASK = "task"
    STATUS = "status"
    MINUTE = "minute"


@dataclass(frozen=True, slots=True)
class UsageAmount:
    """How much of one unit was used within one minute (`minute` is its beginning, UTC)."""

    tenant_id: str
    minute: datetime
    key_id: str
    deployment: str
    version_number: int
    task: str
    status: str
    unit: str
    amount: int


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Sums of all units, for one value of each thing that was grouped by."""

    group: dict[str, str]
    units: dict[str, int]


class UsageStore(Protocol):
    """Keeps usage."""

    def add_many(self, amounts: Sequence[UsageAmount]) -> None:
        """Add amounts to what is kept, all or none, in one transaction."""
        ...

    def totals(
        self, tenant_id: str, since: datetime, until: datetime, group_by: Sequence[UsageGroup]
    ) -> list[UsageTotal]:
        """Sums over the minutes from `since` up to (excluding) `until`, ordered by group."""
        ...
