"""Models and their versions."""

from __future__ import annotations

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import Model, Version


def list_models() -> Flow[list[Model]]:
    """All models, by name."""
    body = yield from send_json(Request("GET", api("models"), idempotent=True))
    return decode_list(Model, body, "models")


def get_model(name: str) -> Flow[Model]:
    """One model."""
    return decode(
        Model, (yield from send_json(Request("GET", api("models", name), idempotent=True)))
    )


def delete_model(name: str) -> Flow[None]:
    """Remove a model with all its versions; refused while a deployment serves one."""
    yield from send(Request("DELETE", api("models", name), idempotent=True))


def list_versions(model: str) -> Flow[list[Version]]:
    """All versions of a model, newest first."""
    path = api("models", model, "versions")
    return decode_list(
        Version, (yield from send_json(Request("GET", path, idempotent=True))), "versions"
    )


def get_version(model: str, version: int | str) -> Flow[Version]:
    """One version, by number or alias."""
    path = api("models", model, "versions", version)
    return decode(Version, (yield from send_json(Request("GET", path, idempotent=True))))


def delete_version(model: str, version: int) -> Flow[None]:
    """Remove a version; refused while an alias or a deployment names it."""
    yield from send(Request("DELETE", api("models", model, "versions", version), idempotent=True))
