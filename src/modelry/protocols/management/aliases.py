"""`/models/{model}/aliases`: movable names for versions, and their history."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import Field

from modelry.domain import catalog as domain
from modelry.domain.access import Permission
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Catalog
from modelry.protocols.management.shapes import Answer, Body, Number
from modelry.services.catalog.aliases import MAX_MOVES, MAX_REASON_CHARS, Expected

Reason = Annotated[str, Field(max_length=MAX_REASON_CHARS)]

router = managed_router("aliases")


class Alias(Answer):
    """A name for a version."""

    name: str
    version: int
    moved_at: datetime

    @classmethod
    def of(cls, alias: domain.Alias) -> Alias:
        """The shape of `alias`."""
        return cls(name=alias.name, version=alias.version_number, moved_at=alias.moved_at)


class AliasList(Answer):
    """All aliases of a model, by name."""

    aliases: list[Alias]


class AliasMove(Answer):
    """One move: `from_version` is None when it was made, `to_version` when it was removed."""

    alias: str
    from_version: int | None
    to_version: int | None
    moved_at: datetime
    moved_by: str
    reason: str

    @classmethod
    def of(cls, move: domain.AliasMove) -> AliasMove:
        """The shape of `move`."""
        return cls(
            alias=move.name,
            from_version=move.previous_number,
            to_version=move.version_number,
            moved_at=move.moved_at,
            moved_by=move.moved_by,
            reason=move.reason,
        )


class AliasMoveList(Answer):
    """The last moves, newest first."""

    moves: list[AliasMove]


class AliasBody(Body):
    """Where an alias shall point.

    With `expected` it is moved only if it points there now; null expects that there is no such
    alias. Left out, it is moved from wherever it is.
    """

    version: Number
    reason: Reason = ""
    expected: Number | None = None


@router.get(
    "/models/{model}/aliases",
    summary="List aliases",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_aliases(model: str, caller: Caller, catalog: Catalog) -> AliasList:
    """All aliases of a model, by name."""
    return AliasList(aliases=[Alias.of(one) for one in catalog.list_aliases(caller, model)])


@router.put(
    "/models/{model}/aliases/{alias}",
    summary="Point an alias at a version",
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("version", "expected")),
)
def set_alias(model: str, alias: str, body: AliasBody, caller: Caller, catalog: Catalog) -> Alias:
    """Made if it is not there; each move is recorded."""
    expected: int | Expected = Expected.ANYTHING
    if "expected" in body.model_fields_set:
        expected = Expected.ABSENT if body.expected is None else body.expected
    return Alias.of(
        catalog.set_alias(caller, model, alias, body.version, reason=body.reason, expected=expected)
    )


@router.delete(
    "/models/{model}/aliases/{alias}",
    status_code=204,
    summary="Take an alias away",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def remove_alias(
    model: str,
    alias: str,
    caller: Caller,
    catalog: Catalog,
    reason: Annotated[Reason, Query()] = "",
) -> None:
    """Its history stays."""
    catalog.remove_alias(caller, model, alias, reason=reason)


@router.get(
    "/models/{model}/alias-moves",
    summary="How aliases moved, newest first",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_alias_moves(
    model: str,
    caller: Caller,
    catalog: Catalog,
    alias: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_MOVES)] = 100,
) -> AliasMoveList:
    """Of one alias, or of all of a model."""
    moves = catalog.alias_history(caller, model, alias, limit)
    return AliasMoveList(moves=[AliasMove.of(one) for one in moves])
