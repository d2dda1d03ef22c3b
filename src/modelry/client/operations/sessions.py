"""Sessions of the person who calls; an API key has none."""

from __future__ import annotations

from typing import Any

from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import part


def my_sessions() -> Flow[list[dict[str, Any]]]:
    """Your open sessions: `session_id`, when made, seen and at an end, `browser`, `is_this`."""
    body = yield from send_json(Request("GET", "/auth/sessions", idempotent=True))
    found: list[dict[str, Any]] = body["sessions"]
    return found


def end_session(session_id: str) -> Flow[None]:
    """End one of your sessions."""
    yield from send(Request("DELETE", f"/auth/sessions/{part(session_id)}"))


def end_all_sessions() -> Flow[None]:
    """End all of your sessions, this one included."""
    yield from send(Request("DELETE", "/auth/sessions"))


def sign_out() -> Flow[None]:
    """End the session that this client has."""
    yield from send(Request("POST", "/auth/logout"))
