"""Jobs: long work on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send_json
from modelry.client.job_records import (
    CurvePoint,
    JobEvent,
    JobLogLine,
    JobRecord,
    KnownById,
    ids_of,
)
from modelry.client.lines import LineSplitter, json_object
from modelry.client.operations.paths import api

STREAM_TIMEOUT_S = 60.0
"""The server tells something four times as often."""


def submit_job(
    kind: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    priority: int = 0,
    after: Sequence[str | KnownById] = (),
    not_before: datetime | None = None,
    retries: int | None = None,
) -> Flow[JobRecord]:
    """Put a job into the queue.

    Args:
        kind: what is to be done; `kinds` tells which there are.
        parameters: of the kind.
        name: for people.
        priority: -100 to 100; the highest of the tenant goes first.
        after: jobs that must succeed before, or their ids.
        not_before: when it may begin at the earliest, with a time zone.
        retries: how many failures in a row that another attempt may mend are tried again.
    """
    body: dict[str, Any] = {
        "kind": kind,
        "parameters": dict(parameters or {}),
        "name": name,
        "priority": priority,
        "after": ids_of(after),
    }
    if not_before is not None:
        body["not_before"] = not_before.isoformat()
    if retries is not None:
        body["retries"] = retries
    return decode(JobRecord, (yield from send_json(Request("POST", api("jobs"), json=body))))


def start_chain(
    *steps: tuple[str, Mapping[str, Any]],
    name: str = "",
    priority: int = 0,
    after: Sequence[str | KnownById] = (),
    not_before: datetime | None = None,
    retries: int | None = None,
) -> Flow[list[JobRecord]]:
    """Put several jobs into the queue, each after those before it; all or none.

        train, evaluate, deploy = client.jobs.chain(
            ("train", {"recipe": "tabular", "dataset": "houses", "model": "prices"}),
            ("evaluate", {}),
            ("deploy", {"when": ["r2 >= 0.8", "r2 >= champion"], "alias": "champion"}),
        )

    Args:
        steps: kind and parameters of each. `evaluate`, `register` and `deploy` without `version`
            work on the version that a step before makes, `evaluate` without `dataset` on that of
            the training. `register` takes `alias` and `model`, `deploy` takes `deployment` and
            `alias`; both take `when`: conditions on metrics that were measured before. Where one
            compares with a version that was not measured on the same rows, there is one job more,
            which measures it.
        name: of all, for people.
        priority: -100 to 100; the highest of the tenant goes first.
        after: jobs that must succeed before the first, or their ids.
        not_before: when the first may begin at the earliest, with a time zone.
        retries: how many failures in a row that another attempt may mend are tried again.

    Raises:
        InvalidInput: a step is not complete, or not possible.
    """
    body: dict[str, Any] = {
        "steps": [{"kind": kind, "parameters": dict(given)} for kind, given in steps],
        "job_name": name,
        "priority": priority,
        "after": ids_of(after),
    }
    if not_before is not None:
        body["not_before"] = not_before.isoformat()
    if retries is not None:
        body["retries"] = retries
    answer = yield from send_json(Request("POST", api("chains"), json=body))
    return decode_list(JobRecord, answer, "jobs")


def list_jobs(
    *,
    kind: str | Sequence[str] = (),
    state: str | Sequence[str] = (),
    name: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Flow[list[JobRecord]]:
    """Jobs, newest first.

    Args:
        kind: only of this kind, or these.
        state: only in this state, or these.
        name: only of this name.
        before: only those submitted before this one; the id of the last one gives the next page.
        limit: how many at most, up to 500.
    """
    params = {
        "kind": _words(kind),
        "state": _words(state),
        "name": name,
        "before": before,
        "limit": limit,
    }
    body = yield from send_json(Request("GET", api("jobs"), params, idempotent=True))
    return decode_list(JobRecord, body, "jobs")


def job_kinds() -> Flow[list[str]]:
    """The kinds of jobs that the server knows."""
    body = yield from send_json(Request("GET", api("job-kinds"), idempotent=True))
    return [str(one) for one in body["kinds"]]


def get_job(job_id: str) -> Flow[JobRecord]:
    """One job with its attempts and artefacts."""
    request = Request("GET", api("jobs", job_id), idempotent=True)
    return decode(JobRecord, (yield from send_json(request)))


def cancel_job(job_id: str) -> Flow[JobRecord]:
    """End a job for good; a running one ends soon."""
    return (yield from _act(job_id, "cancel"))


def pause_job(job_id: str) -> Flow[JobRecord]:
    """Have a job wait until it is resumed; a running one stops soon."""
    return (yield from _act(job_id, "pause"))


def resume_job(job_id: str) -> Flow[JobRecord]:
    """Let a paused or failed job go on, from its last checkpoint if it has one."""
    return (yield from _act(job_id, "resume"))


def _act(job_id: str, act: str) -> Flow[JobRecord]:
    request = Request("POST", api("jobs", job_id, act), idempotent=True)
    return decode(JobRecord, (yield from send_json(request)))


def job_log(job_id: str) -> Flow[list[JobLogLine]]:
    """All lines that a job told so far."""
    found: list[JobLogLine] = []
    after = 0
    while True:
        params = {"after": after, "limit": 1000}
        request = Request("GET", api("jobs", job_id, "log"), params, idempotent=True)
        body = yield from send_json(request)
        lines = decode_list(JobLogLine, body, "lines")
        if not lines:
            return found
        found += lines
        after = int(body["next"])


def job_metrics(job_id: str) -> Flow[list[CurvePoint]]:
    """The curves of a job, by step."""
    request = Request("GET", api("jobs", job_id, "metrics"), idempotent=True)
    return decode_list(CurvePoint, (yield from send_json(request)), "points")


def events_request(job_id: str, after: int, timeout_s: float = STREAM_TIMEOUT_S) -> Request:
    """A job's events from after the one numbered `after`, while they happen."""
    return Request(
        "GET",
        api("jobs", job_id, "events"),
        {"after": after},
        idempotent=True,
        timeout_s=timeout_s,
        streams=True,
    )


def artefact_request(job_id: str, name: str) -> Request:
    """The bytes of an artefact."""
    return Request("GET", api("jobs", job_id, "artefacts", name), idempotent=True, streams=True)


class JobEventParser:
    """Reads a job's events. A stream may end at any time and is asked for again then."""

    is_complete = True

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self._kind, self._sequence = "", 0
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[JobEvent]:
        """The events that `chunk` completes."""
        events = []
        for line in self._lines.feed(chunk):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._kind = value.decode()
            elif field == b"id":
                self._sequence = int(value)
            elif field == b"data":
                self._data.append(value)
            elif not line and self._data:
                events.append(self._event())
            elif line.startswith(b":"):
                events.append(JobEvent("alive"))
        return events

    def _event(self) -> JobEvent:
        data = json_object(b"\n".join(self._data))
        kind, sequence = self._kind, self._sequence
        self._kind, self._sequence, self._data = "", 0, []
        job = decode(JobRecord, data, "job") if kind == "job" else None
        return JobEvent(kind, sequence, data, job)


class ArtefactParser:
    """The bytes of an artefact as they come; its length is checked by the connection."""

    is_complete = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The bytes."""
        return [chunk]


def _words(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
