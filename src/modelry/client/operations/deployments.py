"""Deployments and their replicas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.errors import UnexpectedAnswer
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import Deployment, Replica

LOAD_TIMEOUT_S = 600.0


def list_deployments() -> Flow[list[Deployment]]:
    """All deployments, by name."""
    body = yield from send_json(Request("GET", api("deployments"), idempotent=True))
    return decode_list(Deployment, body, "deployments")


def get_deployment(name: str) -> Flow[Deployment]:
    """One deployment, with its replicas."""
    request = Request("GET", api("deployments", name), idempotent=True)
    return decode(Deployment, (yield from send_json(request)))


def deploy(
    name: str,
    *,
    model: str | None = None,
    version: int | str | None = None,
    traffic: Mapping[int, float] | None = None,
    min_replicas: int | None = None,
    max_replicas: int | None = None,
    idle_unload_s: float | None = None,
    limits: Mapping[str, Any] | None = None,
    engine_options: Mapping[str, Any] | None = None,
) -> Flow[Deployment]:
    """Create a deployment or change it; what is not given stays, or takes its default.

    Args:
        name: of the deployment; clients call it by this. Or a version, such as `digits@3`: it is
            deployed under its model's name.
        model: the model, by default the one of the deployment's name.
        version: number or alias; all traffic goes to it. By default the newest version.
        traffic: percent by version number, instead of `version`.
        min_replicas: replicas per version; 0 loads the model on the first call.
        max_replicas: most replicas per version.
        idle_unload_s: seconds without a request after which replicas end; `math.inf` for never.
        limits: queue, deadline_s, load_timeout_s, hang_timeout_s, memory_bytes.
        engine_options: for the runtime, such as threads or slots.
    """
    if "@" in name and model is None and version is None:
        name, _, number = name.partition("@")
        version = int(number) if number.isdigit() else number
    body: dict[str, Any] = {
        "model": model,
        "version": version,
        "traffic": None
        if traffic is None
        else [{"version": number, "percent": percent} for number, percent in traffic.items()],
        "scale": _scale(min_replicas, max_replicas, idle_unload_s),
        "limits": None if limits is None else dict(limits),
        "engine_options": None if engine_options is None else dict(engine_options),
    }
    given = {key: value for key, value in body.items() if value is not None}
    request = Request("PUT", api("deployments", name), json=given, idempotent=True)
    return decode(Deployment, (yield from send_json(request)))


def _scale(
    min_replicas: int | None, max_replicas: int | None, idle_unload_s: float | None
) -> dict[str, Any] | None:
    given = {
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "idle_unload_s": idle_unload_s,
    }
    found: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if idle_unload_s == math.inf:
        found["idle_unload_s"] = None
    return found or None


def undeploy(name: str) -> Flow[None]:
    """Take a deployment away; open requests are answered first."""
    yield from send(Request("DELETE", api("deployments", name), idempotent=True))


def scale(
    name: str,
    *,
    min_replicas: int | None = None,
    max_replicas: int | None = None,
    idle_unload_s: float | None = None,
) -> Flow[Deployment]:
    """Change how many replicas each version of a deployment has; what is not given stays.

    Args:
        name: of the deployment.
        min_replicas: 0 loads the model on the first call.
        max_replicas: most replicas per version.
        idle_unload_s: seconds without a request after which replicas end; `math.inf` for never.
    """
    body: dict[str, Any] = _scale(min_replicas, max_replicas, idle_unload_s) or {}
    request = Request("POST", api("deployments", name, "scale"), json=body, idempotent=True)
    return decode(Deployment, (yield from send_json(request)))


def load(name: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> Flow[Deployment]:
    """Load a deployment's versions and wait until they are ready, at most `timeout_s` seconds."""
    return (yield from _act(name, "load", timeout_s))


def unload(name: str) -> Flow[Deployment]:
    """End a deployment's replicas; the next request loads them again."""
    return (yield from _act(name, "unload"))


def restart(name: str) -> Flow[Deployment]:
    """End a deployment's replicas and start new ones."""
    return (yield from _act(name, "restart"))


def _act(name: str, verb: str, timeout_s: float = LOAD_TIMEOUT_S) -> Flow[Deployment]:
    path = api("deployments", name, verb)
    request = Request("POST", path, idempotent=verb != "restart", timeout_s=timeout_s)
    return decode(Deployment, (yield from send_json(request)))


def list_replicas(name: str) -> Flow[list[Replica]]:
    """The replicas of a deployment, and why those that are not ready are not."""
    path = api("deployments", name, "replicas")
    return decode_list(
        Replica, (yield from send_json(Request("GET", path, idempotent=True))), "replicas"
    )


def logs(name: str, *, replica_id: str | None = None) -> Flow[dict[str, list[str]]]:
    """The last lines that the replicas of a deployment wrote, by replica."""
    path = api("deployments", name, "logs")
    request = Request("GET", path, {"replica_id": replica_id}, idempotent=True)
    body = yield from send_json(request)
    found = body.get("logs") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise UnexpectedAnswer("The server's answer holds no 'logs'.")
    return {str(replica): [str(line) for line in lines] for replica, lines in found.items()}
