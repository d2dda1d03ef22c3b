"""Kept requests, retention, and the export of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Param, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import (
    KeptClass,
    KeptRequest,
    KeptRequestPage,
    LoggingRule,
)


def get_rule(deployment: str) -> Flow[LoggingRule]:
    """What is kept of a deployment's requests.

    Raises:
        NotFound: nothing is, which is the default.
    """
    request = Request("GET", api("deployments", deployment, "request-log"), idempotent=True)
    return decode(LoggingRule, (yield from send_json(request)))


def keep_requests(
    deployment: str,
    *,
    sample_rate: float = 1.0,
    retention_days: int = 30,
    keep_input: bool = True,
    keep_output: bool = True,
    redact: bool = True,
    max_bytes: int = 65536,
    attachments: bool = False,
    tensor_values: bool = False,
    max_requests: int = 100_000,
) -> Flow[LoggingRule]:
    """Keep requests of a deployment from now on, or change what is kept.

    Args:
        deployment: whose.
        sample_rate: the share of calls, 0 to 1.
        retention_days: after which they are deleted.
        keep_input: what was asked.
        keep_output: what was answered.
        redact: take personal data and secrets out first.
        max_bytes: of input and output each; larger ones are told by their size.
        attachments: keep bytes such as images.
        tensor_values: keep the numbers in tensors, not only names and shapes.
        max_requests: how many are kept; the oldest are deleted first.
    """
    body: dict[str, Any] = {
        "sample_rate": float(sample_rate),
        "retention_days": retention_days,
        "keep_input": keep_input,
        "keep_output": keep_output,
        "redact": redact,
        "max_bytes": max_bytes,
        "attachments": attachments,
        "tensor_values": tensor_values,
        "max_requests": max_requests,
    }
    path = api("deployments", deployment, "request-log")
    return decode(
        LoggingRule, (yield from send_json(Request("PUT", path, json=body, idempotent=True)))
    )


def keep_no_requests(deployment: str) -> Flow[None]:
    """Keep no more requests of a deployment; what was kept stays for its time."""
    path = api("deployments", deployment, "request-log")
    yield from send(Request("DELETE", path, idempotent=True))


def list_requests(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    deployment: str | None = None,
    key_id: str | None = None,
    request_id: str | None = None,
    status: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Flow[KeptRequestPage]:
    """Kept requests, newest first, without what was said; `next` is `before` of the next page."""
    params = {
        **_which(since, until, deployment, key_id, request_id),
        "status": status,
        "before": before,
        "limit": limit,
    }
    request = Request("GET", api("request-logs"), params=params, idempotent=True)
    return decode(KeptRequestPage, (yield from send_json(request)))


def get_request(log_id: str) -> Flow[KeptRequest]:
    """One kept request with what was said; that it was read is in the audit log."""
    request = Request("GET", api("request-logs", log_id), idempotent=True)
    return decode(KeptRequest, (yield from send_json(request)))


def delete_request(log_id: str) -> Flow[None]:
    """Delete one kept request for good."""
    yield from send(Request("DELETE", api("request-logs", log_id), idempotent=True))


def delete_requests(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    deployment: str | None = None,
    key_id: str | None = None,
    request_id: str | None = None,
) -> Flow[int]:
    """Delete all kept requests that fit, for good; how many those were."""
    params = _which(since, until, deployment, key_id, request_id)
    request = Request("DELETE", api("request-logs"), params=params, idempotent=True)
    body = yield from send_json(request)
    return int(body["deleted"])


def list_retention() -> Flow[list[KeptClass]]:
    """How long each class of data is kept."""
    body = yield from send_json(Request("GET", api("retention"), idempotent=True))
    return decode_list(KeptClass, body, "retention")


def set_retention(days: Mapping[str, int | None]) -> Flow[list[KeptClass]]:
    """Set how many days classes of data are kept; None goes back to the default."""
    request = Request("PUT", api("retention"), json=dict(days), idempotent=True)
    return decode_list(KeptClass, (yield from send_json(request)), "retention")


def export_request() -> Request:
    """Asks for all that belongs to the tenant."""
    return Request("GET", api("tenant", "export"), streams=True, retries=False)


class TarParser:
    """Bytes of a tar file as they come; complete when it ends as such files do."""

    def __init__(self) -> None:
        self._end = b""

    @property
    def is_complete(self) -> bool:
        """Whether the end mark was seen."""
        return self._end == bytes(1024)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The bytes, and what the file ends with so far."""
        self._end = (self._end + chunk)[-1024:]
        return [chunk]


def _which(
    since: datetime | None,
    until: datetime | None,
    deployment: str | None,
    key_id: str | None,
    request_id: str | None,
) -> dict[str, Param]:
    return {
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "deployment": deployment,
        "key_id": key_id,
        "request_id": request_id,
    }
