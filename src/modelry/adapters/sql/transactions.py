"""Transactions: opened, committed, rolled back and retried here and nowhere else."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from modelry.adapters.sql.engine import READ_ONLY_OPTIONS, is_sqlite
from modelry.adapters.sql.sessions import open_system_session, open_tenant_session
from modelry.domain.errors import Conflict, InvalidInput, Overloaded

T = TypeVar("T")
Work = Callable[[Session], T]

ATTEMPTS = 12
ATTEMPTS_OF_BROKEN_REFERENCES = 3
"""Enough to tell a row that was deleted meanwhile from one that was never there."""
PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.25
"""Between attempts, doubled each time; the real pause is a random part of it."""
_SERIALIZATION_STATES = frozenset({"40001", "40P01"})
"""PostgreSQL: serialization failure, deadlock."""
_UNIQUE_STATE = "23505"
"""PostgreSQL: somebody else added the same row, which another attempt will find."""


_BUSY = "The database is busy; try again."
_TOLD_SIGNS = (
    ("is locked", _BUSY, 2),
    ("could not serialize", _BUSY, 1),
    ("deadlock detected", _BUSY, 1),
    ("disk is full", "The server's disk is full: nothing can be saved. Free space on it.", 60),
    ("readonly database", "The database cannot be written; check the data folder's rights.", 60),
    ("connection", "The database cannot be reached; check that it runs.", 10),
)
"""Words of a database's error, what a caller is told of it, and when to try again."""


class Transactions:
    """Runs pieces of work, each in one serializable transaction.

    Work may be run again when the database asks for it, so it must have no effect outside of
    its session. It returns plain values, never rows.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = 0
        self._ended = threading.Condition()
        self._readers = engine.execution_options(**READ_ONLY_OPTIONS)
        # SQLite has one writer at a time: waiting here is fair, waiting in SQLite is polling.
        self._writer = threading.Lock() if is_sqlite(engine) else nullcontext()

    def read(self, tenant_id: str, work: Work[T]) -> T:
        """The result of `work` on a consistent view of a tenant's rows."""
        return self._run(lambda: open_tenant_session(self._readers, tenant_id), work)

    def write(self, tenant_id: str, work: Work[T]) -> T:
        """The result of `work`, whose changes to a tenant's rows are kept if it returns."""
        with self._writer:
            return self._run(lambda: open_tenant_session(self._engine, tenant_id), work)

    def read_all_tenants(self, purpose: str, work: Work[T]) -> T:
        """As `read`, over all tenants; for what the server itself does."""
        return self._run(lambda: open_system_session(self._readers, purpose), work)

    def write_all_tenants(self, purpose: str, work: Work[T]) -> T:
        """As `write`, over all tenants; for what the server itself does."""
        with self._writer:
            return self._run(lambda: open_system_session(self._engine, purpose), work)

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until no transaction is under way: what is open when connections are closed is
        never closed.
        """
        with self._ended:
            self._ended.wait_for(lambda: not self._open, timeout_s)

    def _run(self, open_session: Callable[[], Session], work: Work[T]) -> T:
        with self._ended:
            self._open += 1
        try:
            return self._attempt(open_session, work)
        finally:
            with self._ended:
                self._open -= 1
                self._ended.notify_all()

    def _attempt(self, open_session: Callable[[], Session], work: Work[T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            with open_session() as session:
                try:
                    result = work(session)
                    session.commit()
                except DBAPIError as error:
                    session.rollback()
                    if attempt >= self._attempts_worth(error):
                        raise _told(error) from error
                    pause_s = min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S)
                except PoolTimeout as error:
                    raise Overloaded(_BUSY, retry_after_s=2) from error
                else:
                    return result
            time.sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads attempts, no secret
        raise AssertionError("unreachable")

    def _attempts_worth(self, error: DBAPIError) -> int:
        """How often work that ends in `error` is worth a try: more than once where another
        transaction may have come between, which never happens on SQLite with its one writer.
        """
        if is_sqlite(self._engine):
            return 1
        state = getattr(error.orig, "sqlstate", None)
        if state in _SERIALIZATION_STATES or state == _UNIQUE_STATE:
            return ATTEMPTS
        return ATTEMPTS_OF_BROKEN_REFERENCES if isinstance(error, IntegrityError) else 1


def _told(error: DBAPIError) -> Exception:
    """The error that a caller shall see: a full or busy database is not a defect."""
    if isinstance(error, IntegrityError):
        return Conflict(
            "What this refers to was changed or deleted meanwhile, or something refers to what "
            "it deletes. Look again and decide anew."
        )
    if isinstance(error, DataError):
        return InvalidInput(
            "A text or number cannot be kept by the database: it is too long or too large, or "
            "holds the character NUL. Shorten it or leave that character out."
        )
    words = str(error.orig).lower()
    for sign, advice, retry_after_s in _TOLD_SIGNS:
        if sign in words:
            return Overloaded(advice, retry_after_s=retry_after_s)
    return error
