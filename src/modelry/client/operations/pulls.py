"""Pulls: models that the server fetches from a hub, a package index, a URL or its catalogue."""

from __future__ import annotations

from typing import Any

from modelry.client.decoding import decode
from modelry.client.errors import told_error
from modelry.client.exchange import Request
from modelry.client.lines import LineSplitter, json_object
from modelry.client.operations.paths import api
from modelry.client.records import PullProgress, Registration

PULL_TIMEOUT_S = 600.0

PullEvent = PullProgress | Registration


def pull_request(
    source: str | None = None,
    *,
    manifest: str | None = None,
    name: str | None = None,
    task: str | None = None,
) -> Request:
    """A pull of a source (`smollm2`, `hf://…`, `pypi://…`, `https://…`) or of a manifest's."""
    given = {"source": source, "manifest": manifest, "name": name, "task": task}
    body: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return Request(
        "POST", api("pulls"), json=body, idempotent=True, timeout_s=PULL_TIMEOUT_S, streams=True
    )


class PullParser:
    """Reads the lines of a pull: progress, then the registration or an error."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self.is_complete = False

    def feed(self, chunk: bytes) -> list[PullEvent]:
        """The events that `chunk` completes; raises the error that the stream tells."""
        return [event for line in self._lines.feed(chunk) if line for event in self._event(line)]

    def _event(self, line: bytes) -> list[PullEvent]:
        told = json_object(line)
        if "error" in told:
            raise told_error(502, told["error"])
        if "registration" in told:
            self.is_complete = True
            return [decode(Registration, told["registration"], "registration")]
        if "progress" in told:
            return [decode(PullProgress, told["progress"], "progress")]
        return []
