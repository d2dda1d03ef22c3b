"""Notes what each request used, and whose it was; nothing here waits or touches a database.

Requests are kept as columns, a set of them for all that have the same key, version, outcome and
replica: a note costs a look-up and some appends, and the columns go to the ledger as they are.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelry.domain.errors import Cancelled, InternalError, ModelryError, Overloaded
from modelry.domain.usage import NOWHERE, Origin
from modelry.services.inference.request_ids import ID_CHARS

if TYPE_CHECKING:
    from modelry.domain.access import Principal
    from modelry.services.inference.call import Call
    from modelry.services.quotas.costs import CostBudgets

OK = "ok"
_NEVER = object()


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What the requests of a series have in common; `parameters` is a JSON object."""

    origin: Origin
    tenant_id: str
    key_id: str
    status: str
    replica_id: str
    parameters: bytes


class Series:
    """Requests with the same `SeriesKey`, a list per column.

    `started` is monotonic time in seconds until `Meter.take` makes it Unix time. `units` has what
    a request used and the place of the first request that used it, wherever that changes: requests
    with the same plan share one object. `ids` has the ids of `ID_CHARS` characters one after the
    other, all others are in `other_ids` with their places: the objects of many thousand ids, kept
    until they are taken, would drive all else out of the processor's caches.
    """

    __slots__ = (
        "durations", "engine_us", "ids", "key", "last_units", "other_ids", "started", "units",
    )  # fmt: skip

    def __init__(self, key: SeriesKey) -> None:
        self.key = key
        self.started = array("d")
        self.durations = array("d")
        self.engine_us = array("q")
        self.ids = bytearray()
        self.other_ids: list[tuple[int, bytes]] = []
        self.units: list[tuple[int, Mapping[str, int] | None]] = []
        self.last_units: object = _NEVER

    def __len__(self) -> int:
        return len(self.started)

    def add_units(self, units: Mapping[str, int] | None) -> None:
        """The next request used others than the last one."""
        self.last_units = units
        self.units.append((len(self.started), units))


@dataclass(frozen=True, slots=True)
class Taken:
    """What was noted since the last time; `clock_offset_s` makes its times Unix times."""

    series: tuple[Series, ...]
    clock_offset_s: float


class Meter:
    """All requests that ended since they were last taken; used on the event loop alone.

    `unauthenticated` counts requests without a valid key: nobody's, so they leave no record.
    While `is_full` is set new requests are refused, since what they use could not be kept; these
    refusals are counted in `dropped` and leave no record, or they would fill what is full.

    Args:
        costs: counts what requests cost on the budgets of those whose costs are limited.
    """

    def __init__(self, costs: CostBudgets | None = None) -> None:
        self.costs = costs
        self.unauthenticated = 0
        self.is_full = False
        self.dropped = 0
        self._series: dict[tuple[Origin, str, str, str, str, bytes], Series] = {}

    def check_room(self) -> None:
        """See that what a new request uses can be kept.

        Raises:
            Overloaded: the ledger could not be written for so long that no room is left.
        """
        if self.is_full:
            raise Overloaded(
                "The server cannot record what requests use at the moment, so it takes none; "
                "try again later.",
                retry_after_s=5,
            )

    def note(
        self,
        key: tuple[Origin, str, str, str, str, bytes],
        started: float,
        ended: float,
        request_id: bytes,
        used: tuple[Mapping[str, int] | None, int],
    ) -> None:
        """Keep an ended request.

        Args:
            key: the fields of its `SeriesKey`; a plain tuple is found faster.
            started: monotonic time, in seconds.
            ended: likewise.
            request_id: its id.
            used: its units, and the microseconds of its replica's time.
        """
        if self.is_full and key[3] == Overloaded.code:
            self.dropped += 1
            return
        if self.costs is not None and self.costs.accounts.counts_cost:
            self.costs.settle((key[1], key[2]), key[0], key[3], (started, ended), used)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(SeriesKey(*key))
        units, engine_us = used
        if units is not series.last_units:
            series.add_units(units)
        if len(request_id) == ID_CHARS:
            series.ids += request_id
        else:
            series.other_ids.append((len(series.started), request_id))
        series.started.append(started)
        series.durations.append(ended - started)
        series.engine_us.append(engine_us)

    def take(self) -> Taken:
        """What was noted since the last time; it starts again from nothing."""
        taken, self._series = self._series, {}
        return Taken(tuple(taken.values()), time.time() - time.monotonic())


open_request: ContextVar[OpenRequest | None] = ContextVar("open_request", default=None)
"""The request that a door is answering, for the calls that are made on its behalf."""


class OpenRequest:
    """One request of a door, from its arrival to the end of its answer; leaves one record.

    A request may need several calls (a completion of several prompts), or fail before the first.
    Use it as a context manager around the handling; `hold` and `release` keep it open while its
    answer is streamed afterwards. It ends when nobody holds it and its calls have ended: calls of
    a caller that went away end a little later, with what they used until then. `was_admitted` says
    whether any of its calls was, and so counted on the caller's account.
    """

    __slots__ = (
        "_calls", "_engine_us", "_holds", "_meter", "_open", "_parameters", "_replica_id",
        "_started", "_status", "_token", "_units", "origin", "principal", "request_id",
        "was_admitted",
    )  # fmt: skip

    def __init__(self, meter: Meter, request_id: str) -> None:
        self.request_id = request_id
        self.principal: Principal | None = None
        self.origin = NOWHERE
        self._meter = meter
        self._started = time.monotonic()
        self._holds = 0
        self._open: set[Call] = set()
        self.was_admitted = False
        self._status = OK
        self._replica_id = ""
        self._parameters = b""
        self._units: dict[str, int] = {}
        self._engine_us = 0

    def __enter__(self) -> Self:
        self._token = open_request.set(self)
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        open_request.reset(self._token)
        if isinstance(error, ModelryError):
            self.failed(error.code)
        elif error is not None:  # cancelled with its task, or a defect of ours
            is_defect = isinstance(error, Exception)
            self.failed(InternalError.code if is_defect else Cancelled.code)
        self.release()

    def hold(self) -> None:
        """The answer is not complete yet."""
        self._holds += 1

    def release(self) -> None:
        """One who held it is done."""
        self._holds -= 1
        self._end_if_done()

    def failed(self, status: str) -> None:
        """It was answered with an error; the first one counts."""
        if self._status == OK:
            self._status = status

    def began(self, call: Call) -> None:
        """A call was admitted on its behalf."""
        self._open.add(call)
        self.was_admitted = True
        if call.group is not None:
            self.origin = call.group.origin

    def ended(self, call: Call, status: str) -> None:
        """A call of it ended."""
        if call not in self._open:
            return
        self._open.discard(call)
        if status != OK:
            self.failed(status)
        if call.link is not None:
            self._replica_id = call.link.replica_id
        self._parameters = call.parameters or self._parameters
        self._engine_us += call.engine_us
        self.used(call.units or {})
        self._end_if_done()

    def used(self, units: Mapping[str, int]) -> None:
        """It used something that no call of it tells."""
        for unit, count in units.items():
            self._units[unit] = self._units.get(unit, 0) + count

    def _end_if_done(self) -> None:
        if self._holds or self._open:
            return
        if self.principal is None:
            self._meter.unauthenticated += 1
            return
        principal = self.principal
        self._meter.note(
            (
                self.origin,
                principal.tenant_id,
                principal.key_id,
                self._status,
                self._replica_id,
                self._parameters,
            ),
            self._started,
            time.monotonic(),
            self.request_id.encode(),
            (self._units or None, self._engine_us),
        )
