"""What privacy needs from outside, and what it can be extended with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

USUAL_REQUESTS = 100_000
"""How many requests of a deployment are kept at most, where its rule does not say."""


class Span(NamedTuple):
    """Characters `start` to `end` (excluded) of a text, and what they are."""

    start: int
    end: int
    kind: str


class Recogniser(Protocol):
    """Finds one kind of thing in text, in time that grows with the text's length and no faster."""

    @property
    def kind(self) -> str:
        """What it finds, in capitals: it stands in the text's place as `<KIND>`."""
        ...

    def find(self, text: str) -> Iterable[Span]:
        """Where it is."""
        ...


@dataclass(frozen=True, slots=True)
class LoggingRule:
    """What is kept of the requests of one deployment.

    `sample_rate` is the share of calls that are kept, 0 to 1. `max_bytes` bounds input and output
    each, as they are kept. `attachments` are bytes such as images; `tensor_values` are the numbers
    in tensors, whose names and shapes are kept always. `max_requests` bounds how many are kept:
    the oldest go first.
    """

    tenant_id: str
    deployment: str
    sample_rate: float
    retention_days: int
    keep_input: bool
    keep_output: bool
    redact: bool
    max_bytes: int
    attachments: bool
    tensor_values: bool
    changed_at: datetime
    changed_by: str
    max_requests: int = USUAL_REQUESTS


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One kept call, without what was said in it; `redacted` counts what was taken out, by kind."""

    tenant_id: str
    log_id: str
    request_id: str
    at: datetime
    expires_at: datetime
    deployment: str
    version_number: int
    key_id: str
    task: str
    status: str
    duration_s: float
    redacted: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SealedLog:
    """A kept call with its sealed content."""

    request: LoggedRequest
    sealed: bytes


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which kept calls; None for all."""

    since: datetime | None = None
    until: datetime | None = None
    deployment: str | None = None
    key_id: str | None = None
    request_id: str | None = None
    status: str | None = None


class RequestLogStore(Protocol):
    """Keeps rules and calls; each method is one transaction."""

    def rules(self) -> Sequence[LoggingRule]:
        """The rules of all tenants; for the data plane."""
        ...

    def rule(self, tenant_id: str, deployment: str) -> LoggingRule | None:
        """One rule."""
        ...

    def put_rule(self, rule: LoggingRule) -> None:
        """Insert or replace.

        Raises:
            NotFound: there is no such deployment.
        """
        ...

    def delete_rule(self, tenant_id: str, deployment: str) -> bool:
        """Whether there was one."""
        ...

    def add(self, tenant_id: str, logs: Sequence[SealedLog]) -> None:
        """Keep calls of a tenant, all or none; nothing when the tenant is gone."""
        ...

    def find(
        self, tenant_id: str, wanted: LogFilter, *, before: str | None, limit: int
    ) -> Sequence[LoggedRequest]:
        """Up to `limit` kept calls, newest first, older than the one called `before`."""
        ...

    def get(self, tenant_id: str, log_id: str) -> SealedLog | None:
        """One kept call."""
        ...

    def delete(self, tenant_id: str, wanted: LogFilter, log_id: str | None = None) -> int:
        """Delete kept calls for good; how many."""
        ...

    def delete_expired(self, tenant_id: str, now: datetime) -> int:
        """Delete those whose time is over, by their own date or by their deployment's rule, and
        those that are more than the rule keeps.
        """
        ...

    def delete_beyond(self, tenant_id: str, deployment: str, most: int) -> int:
        """Delete all kept calls of a deployment but the newest `most`; how many."""
        ...


class RetentionStore(Protocol):
    """Keeps how many days a tenant keeps each class of data."""

    def days(self, tenant_id: str) -> Mapping[str, int]:
        """What was set, by class."""
        ...

    def put_days(
        self, tenant_id: str, days: Mapping[str, int | None], by: str, at: datetime
    ) -> None:
        """Set it, by class; None goes back to the default."""
        ...


class EndedJobs(Protocol):
    """Knows jobs."""

    def delete_ended(self, tenant_id: str, before: datetime) -> int:
        """Delete jobs that ended before, with all that belongs to them; how many."""
        ...


TakeRow = Callable[[str, Mapping[str, Any]], None]
"""Takes a row of the table that is named first: JSON types, datetimes, dates and bytes."""


class TenantSnapshots(Protocol):
    """Reads all rows of a tenant as they were at one moment."""

    def rows(self, tenant_id: str, begin: Callable[[], TakeRow]) -> None:
        """Hand over every row of every table that a tenant owns, table by table.

        Args:
            tenant_id: whose.
            begin: gives what takes the rows; called again when they must be read once more.
        """
        ...
