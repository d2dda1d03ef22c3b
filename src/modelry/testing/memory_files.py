"""A `FileStore` in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from modelry.domain.errors import NotFound
from modelry.domain.files import TenantFile
from modelry.services.files.ports import FileFilter
from modelry.testing.memory_state import TenantState

if TYPE_CHECKING:
    from modelry.testing.memory_database import MemoryDatabase


class MemoryFileStore:
    """Implements `services.files.ports.FileStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def add(self, file: TenantFile) -> TenantFile:
        """See `FileStore.add`."""

        def work(state: TenantState) -> TenantFile:
            if file.file_id not in state.files and file.digest not in state.blobs:
                raise NotFound("The content of the file is not kept (any more); send it again.")
            return state.files.setdefault(file.file_id, file)

        return self._database.transact(file.tenant_id, work)

    def find(self, tenant_id: str, file_id: str, now: datetime) -> TenantFile | None:
        """See `FileStore.find`."""
        found = self._state(tenant_id).files.get(file_id)
        return None if found is None or _is_over(found, now) else found

    def list(
        self, tenant_id: str, wanted: FileFilter, now: datetime, limit: int
    ) -> Sequence[TenantFile]:
        """See `FileStore.list`."""
        found = [
            one
            for one in self._state(tenant_id).files.values()
            if not _is_over(one, now) and wanted.purpose in (None, one.purpose)
        ]
        found.sort(key=_place, reverse=wanted.newest_first)
        if wanted.after is not None:
            last = _place(wanted.after)
            found = [
                one
                for one in found
                if (_place(one) < last if wanted.newest_first else _place(one) > last)
            ]
        return found[:limit]

    def delete(self, tenant_id: str, file_id: str) -> bool:
        """See `FileStore.delete`."""
        return self._database.transact(
            tenant_id, lambda state: state.files.pop(file_id, None) is not None
        )

    def delete_expired(self, now: datetime) -> int:
        """See `FileStore.delete_expired`."""

        def work(states: dict[str, TenantState]) -> int:
            count = 0
            for state in states.values():
                over = [name for name, one in state.files.items() if _is_over(one, now)]
                for name in over:
                    del state.files[name]
                count += len(over)
            return count

        return self._database.transact_all(work)

    def _state(self, tenant_id: str) -> TenantState:
        return self._database.states().get(tenant_id, TenantState())


def _place(file: TenantFile) -> tuple[datetime, str]:
    return file.created_at, file.file_id


def _is_over(file: TenantFile, now: datetime) -> bool:
    return file.expires_at is not None and file.expires_at <= now
