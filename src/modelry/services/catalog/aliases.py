"""Aliases: movable names for versions, each move recorded with who, when and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Alias, AliasMove, check_name
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.services.catalog.lookup import the_model, the_version
from modelry.services.catalog.ports import CatalogRecords, CatalogStore

MAX_REASON_CHARS = 2000
MAX_MOVES = 1000


class Expected(Enum):
    """What a caller expects of an alias before it moves, besides a version number."""

    ANYTHING = "anything"
    ABSENT = "absent"


class Aliases:
    """Use cases on aliases.

    Args:
        store: keeps them.
        clock: gives the time.
    """

    def __init__(self, store: CatalogStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def set(
        self,
        principal: Principal,
        model: str,
        name: str,
        version: int,
        *,
        reason: str = "",
        expected: int | Expected = Expected.ANYTHING,
    ) -> Alias:
        """Point an alias at a version; pointing it where it points already records nothing.

        Args:
            principal: who asks.
            model: the model.
            name: the alias; made if it is not there.
            version: the version's number.
            reason: why, for the history.
            expected: the version it must point at now, or `Expected.ABSENT`; with it, of two
                callers that move the alias at once only one succeeds.

        Raises:
            NotFound: no such model or version.
            Conflict: the alias is not where it was expected.
            InvalidInput: the name or reason is not allowed.
        """
        principal.require(Permission.MODELS_WRITE)
        check_alias_name(name)
        _check_reason(reason)
        now = self._clock()

        def work(records: CatalogRecords) -> Alias:
            the_version(records, model, version)
            current = records.aliases.find(model, name)
            _check_expected(current, name, expected)
            if current is not None and current.version_number == version:
                return current
            alias = Alias(principal.tenant_id, model, name, version, now)
            records.aliases.put(alias)
            records.aliases.add_move(_move(principal, current, alias, now, reason))
            return alias

        return self._store.write(principal.tenant_id, work)

    def remove(
        self,
        principal: Principal,
        model: str,
        name: str,
        *,
        reason: str = "",
        expected: int | Expected = Expected.ANYTHING,
    ) -> None:
        """Take an alias away; its history stays.

        Raises:
            NotFound: no such model or alias.
            Conflict: the alias is not where it was expected.
            InvalidInput: the reason is not allowed.
        """
        principal.require(Permission.MODELS_WRITE)
        _check_reason(reason)
        now = self._clock()

        def work(records: CatalogRecords) -> None:
            the_model(records, model)
            current = records.aliases.find(model, name)
            if current is None:
                raise NotFound(f"Model '{model}' has no alias '{name[:80]}'.", param="alias")
            _check_expected(current, name, expected)
            records.aliases.delete(model, name)
            records.aliases.add_move(_move(principal, current, None, now, reason))

        self._store.write(principal.tenant_id, work)

    def all(self, principal: Principal, model: str) -> list[Alias]:
        """All aliases of a model, by name.

        Raises:
            NotFound: no such model.
        """
        principal.require(Permission.MODELS_READ)

        def work(records: CatalogRecords) -> list[Alias]:
            the_model(records, model)
            return records.aliases.all(model)

        return self._store.read(principal.tenant_id, work)

    def history(
        self, principal: Principal, model: str, name: str | None = None, limit: int = 100
    ) -> list[AliasMove]:
        """The last moves of one alias, or of all of a model, newest first.

        Raises:
            NotFound: no such model.
            InvalidInput: `limit` is not in 1..1000.
        """
        principal.require(Permission.MODELS_READ)
        if not 1 <= limit <= MAX_MOVES:
            raise InvalidInput(f"'limit' is {limit}; expected 1 to {MAX_MOVES}.", param="limit")

        def work(records: CatalogRecords) -> list[AliasMove]:
            the_model(records, model)
            return records.aliases.list_moves(model, name, limit)

        return self._store.read(principal.tenant_id, work)


def _move(
    principal: Principal, current: Alias | None, target: Alias | None, now: datetime, reason: str
) -> AliasMove:
    moved = target or current
    assert moved is not None, "a move begins or ends somewhere"
    return AliasMove(
        tenant_id=principal.tenant_id,
        model_name=moved.model_name,
        name=moved.name,
        previous_number=None if current is None else current.version_number,
        version_number=None if target is None else target.version_number,
        moved_at=now,
        moved_by=principal.key_id,
        reason=reason,
    )


def check_alias_name(name: str) -> None:
    """See that an alias may be called so.

    Raises:
        InvalidInput: it may not.
    """
    check_name(name, "alias")
    if name.isdigit():
        raise InvalidInput(
            f"Alias '{name}' is not allowed: a number means a version. Put a letter in it.",
            param="alias",
        )


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON_CHARS or "\x00" in reason:
        raise InvalidInput(
            f"The reason has {len(reason)} characters; expected at most {MAX_REASON_CHARS}, "
            "without NUL.",
            param="reason",
        )


def _check_expected(current: Alias | None, name: str, expected: int | Expected) -> None:
    if expected is Expected.ANYTHING:
        return
    found = None if current is None else current.version_number
    wanted = None if expected is Expected.ABSENT else expected
    if found != wanted:
        is_now = "does not exist" if found is None else f"points at version {found}"
        hoped = "that it does not exist" if wanted is None else f"version {wanted}"
        raise Conflict(
            f"Alias '{name[:80]}' {is_now}; the request expected {hoped}. Somebody moved it; "
            "look again and decide anew.",
            param="expected",
        )
