"""The server itself: is it ready, what has it done, what can it do."""

from __future__ import annotations

import time
from typing import Any

from modelry.client.decoding import decode_list
from modelry.client.errors import (
    ConnectionLost,
    ModelFailed,
    NotReachable,
    PermissionDenied,
    TimedOut,
)
from modelry.client.exchange import Flow, Request, send, send_json, sleep
from modelry.client.operations.deployments import get_deployment, load
from modelry.client.operations.paths import api, part
from modelry.client.records import CatalogEntry, Deployment

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
PROBE_TIMEOUT_S = 5.0


def status() -> Flow[dict[str, Any]]:
    """Version, start time, readiness and counts of the server."""
    body: dict[str, Any] = yield from send_json(Request("GET", api("status"), idempotent=True))
    return body


def catalog() -> Flow[list[CatalogEntry]]:
    """The starter models that the server can pull by name."""
    body = yield from send_json(Request("GET", api("catalog"), idempotent=True))
    return decode_list(CatalogEntry, body, "entries")


def server_metadata() -> Flow[dict[str, Any]]:
    """Name, version and protocol extensions of the server; needs no key."""
    body: dict[str, Any] = yield from send_json(Request("GET", "/v2", idempotent=True))
    return body


def model_metadata(model: str, *, version: int | None = None) -> Flow[dict[str, Any]]:
    """Versions, platform and tensors (name, datatype, shape) of a deployment."""
    path = f"/v2/models/{part(model, 'model')}"
    if version is not None:
        path += f"/versions/{version}"
    body: dict[str, Any] = yield from send_json(Request("GET", path, idempotent=True))
    return body


def is_ready() -> Flow[bool]:
    """Whether the server takes requests; needs no key."""
    request = Request(
        "GET", "/readyz", expects=frozenset({503}), timeout_s=PROBE_TIMEOUT_S, retries=False
    )
    answer = yield from send(request)
    return answer.is_good


def wait_ready(timeout_s: float = 60.0) -> Flow[None]:
    """Wait until the server takes requests.

    Raises:
        TimedOut: it does not after `timeout_s` seconds; tells what was seen last.
    """
    end = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            if (yield from is_ready()):
                return
            seen = "it is not ready yet"
        except (NotReachable, ConnectionLost, TimedOut) as error:
            seen = error.message
        if time.monotonic() + pause_s > end:
            raise TimedOut(f"The server was not ready after {timeout_s:g} s: {seen}")
        yield from sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)


def is_model_ready(model: str, *, version: int | None = None) -> Flow[bool]:
    """Whether a deployment (or one version of it) has a ready replica."""
    path = f"/v2/models/{part(model, 'model')}"
    if version is not None:
        path += f"/versions/{version}"
    request = Request("GET", f"{path}/ready", expects=frozenset({503}), idempotent=True)
    answer = yield from send(request)
    return answer.is_good


def wait_model_ready(model: str, timeout_s: float = 300.0) -> Flow[None]:
    """Wait until a deployment can answer; loads it if it is one that loads on call.

    Raises:
        NotFound: there is no such deployment.
        ModelFailed: it failed to load; has the reason.
        TimedOut: it is not ready after `timeout_s` seconds.
    """
    end = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    may_look = may_load = True
    while not (yield from is_model_ready(model)):
        if may_look:
            try:
                deployment = yield from get_deployment(model)
                _check_not_failed(deployment)
                if may_load and deployment.scale.min_replicas == 0 and not deployment.replicas:
                    may_load = False
                    yield from load(model, timeout_s=max(1.0, end - time.monotonic()))
                    continue
            except PermissionDenied:
                may_look = False
        if time.monotonic() + pause_s > end:
            raise TimedOut(f"Model '{model}' was not ready after {timeout_s:g} s.")
        yield from sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)


def _check_not_failed(deployment: Deployment) -> None:
    states = {replica.state for replica in deployment.replicas}
    if states and states <= {"failed", "stopped"} and "failed" in states:
        reason = next(one.reason for one in deployment.replicas if one.state == "failed")
        raise ModelFailed(
            f"Model '{deployment.name}' failed to load: {reason or 'no reason was told'}",
            param=deployment.name,
        )
