"""Aliases: movable names for versions."""

from __future__ import annotations

from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import Alias, AliasMove


def list_aliases(model: str) -> Flow[list[Alias]]:
    """The aliases of a model, by name."""
    path = api("models", model, "aliases")
    return decode_list(
        Alias, (yield from send_json(Request("GET", path, idempotent=True))), "aliases"
    )


def set_alias(
    model: str,
    alias: str,
    version: int,
    *,
    reason: str | None = None,
    expected: int | None = None,
) -> Flow[Alias]:
    """Let an alias name a version.

    Args:
        model: the model.
        alias: the alias, new or not.
        version: the version's number.
        reason: goes into the alias's history.
        expected: the version that it names now; if it is another one, nothing is changed.

    Raises:
        Conflict: it does not name `expected`.
    """
    body: dict[str, Any] = {"version": version}
    if reason is not None:
        body["reason"] = reason
    if expected is not None:
        body["expected"] = expected
    # not repeated: a move that is made twice stands twice in the history
    request = Request("PUT", api("models", model, "aliases", alias), json=body)
    return decode(Alias, (yield from send_json(request)))


def delete_alias(model: str, alias: str, *, reason: str | None = None) -> Flow[None]:
    """Remove an alias; its history stays."""
    path = api("models", model, "aliases", alias)
    yield from send(Request("DELETE", path, {"reason": reason}))


def list_alias_moves(
    model: str, alias: str | None = None, *, limit: int | None = None
) -> Flow[list[AliasMove]]:
    """The last moves of one alias, or of all of a model, newest first."""
    path = api("models", model, "alias-moves")
    request = Request("GET", path, {"alias": alias, "limit": limit}, idempotent=True)
    return decode_list(AliasMove, (yield from send_json(request)), "moves")
