"""What usage needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from modelry.domain.prices import Price


class UsageGroup(StrEnum):
    """What totals can be told apart by."""

    TENANT = "tenant_id"
    CALLER = "caller"
    KEY = "key_id"
    DEPLOYMENT = "deployment"
    MODEL = "model"
    VERSION = "version_number"
    TASK = "task"
    STATUS = "status"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class UsageAmount:
    """How much of one unit was used within one minute (`minute` counts from 1970, UTC).

    `caller` is the tenant that called a deployment which `tenant_id` shares with it; empty for
    what `tenant_id` itself used.
    """

    tenant_id: str
    minute: int
    caller: str
    key_id: str
    deployment: str
    model: str
    version_number: int
    task: str
    status: str
    unit: str
    amount: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Records of one tenant that are kept, or not, together, and what they add up to.

    It is told apart by tenant, run and sequence: to add it again changes nothing. `other_ids`
    are fingerprints of the ids that callers chose themselves. All its requests began and ended
    between `first_at` and `last_at`.
    """

    tenant_id: str
    run_id: str
    sequence: int
    first_at: datetime
    last_at: datetime
    records: int
    data: bytes
    other_ids: bytes
    amounts: tuple[UsageAmount, ...]


LONGEST_SEGMENT = timedelta(days=2)
"""A segment is as long as the longest request in it."""


@dataclass(frozen=True, slots=True)
class KeptSegment:
    """A segment as it is read again."""

    tenant_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TotalsQuery:
    """Which totals to add up, and how to tell them apart.

    Attributes:
        tenant_id: whose; None for those of every tenant.
        since: first minute.
        until: the minute after the last.
        group_by: what to tell apart; the order of the answer.
        where: values that a column must have one of.
        shared: what other tenants used of deployments that they are allowed to call, instead of
            what the tenant itself used.
        limit: how many groups at most.
        after: only groups after this one, in the order of the answer; of fewer things than
            `group_by`, only the first so many are compared.
        up_to: only groups up to this one, likewise.
    """

    tenant_id: str | None
    since: datetime
    until: datetime
    group_by: tuple[UsageGroup, ...] = ()
    where: tuple[tuple[UsageGroup, tuple[str, ...]], ...] = ()
    shared: bool = False
    limit: int | None = None
    after: tuple[str, ...] | None = None
    up_to: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Sums of all units, for one value of each thing that was grouped by."""

    group: dict[str, str]
    units: dict[str, int]


class UsageStore(Protocol):
    """The ledger: keeps segments and totals."""

    def add(self, segments: Sequence[Segment]) -> None:
        """Keep segments and add their amounts to the totals, all or none, in one transaction.

        Those that are kept already are left out, and so are those of tenants that are gone.
        """
        ...

    def totals(self, query: TotalsQuery) -> list[UsageTotal]:
        """Sums by group, ordered by it: names and times ascending."""
        ...

    def find_segments(
        self, tenant_id: str, first: datetime, last: datetime
    ) -> Iterator[KeptSegment]:
        """A tenant's segments whose time and that from `first` to `last` overlap, oldest first.

        Those that go on for longer than `LONGEST_SEGMENT` after `last` need not be found.
        """
        ...

    def segments_with_other_ids(
        self, tenant_id: str, may_match: Callable[[bytes], bool]
    ) -> Iterator[KeptSegment]:
        """A tenant's segments with fingerprints that `may_match`, newest first."""
        ...

    def delete_segments(self, before: datetime) -> int:
        """Delete the segments of all tenants that end before a time; the totals stay."""
        ...

    def delete_totals(self, before: datetime) -> int:
        """Delete the totals of all tenants of the minutes before a time."""
        ...


class SegmentSpool(Protocol):
    """Durable place for segments that the store cannot take now; survives the process."""

    def put(self, segments: Sequence[Segment]) -> str:
        """Keep segments; they are on the disk when this returns. Gives the name to ask for.

        Raises:
            OSError: they cannot be kept.
        """
        ...

    def names(self) -> list[str]:
        """What is there, oldest first."""
        ...

    def get(self, name: str) -> list[Segment]:
        """What was put under that name; empty when it is damaged or gone, which is logged."""
        ...

    def delete(self, name: str) -> None:
        """Let go of it."""
        ...

    def size_bytes(self) -> int:
        """How much there is."""
        ...


class PriceStore(Protocol):
    """Keeps the platform's prices."""

    def all(self) -> list[Price]:
        """Every price, past and to come."""
        ...

    def put(self, price: Price) -> None:
        """Insert or replace one."""
        ...
