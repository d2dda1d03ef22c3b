"""A `LineageStore` in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelry.domain.lineage import Lineage
from modelry.testing.memory_state import BrokenReference, TenantState

if TYPE_CHECKING:
    from modelry.testing.memory_database import MemoryDatabase


class MemoryLineageStore:
    """Implements `services.training.ports.LineageStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def add(self, lineage: Lineage) -> None:
        """See `LineageStore.add`."""
        key = (lineage.model_name, lineage.number)

        def work(state: TenantState) -> None:
            if key not in state.versions:
                raise BrokenReference(f"version {lineage.ref} does not exist")
            state.lineages.setdefault(key, lineage)

        self._database.transact(lineage.tenant_id, work)

    def find(self, tenant_id: str, model_name: str, number: int) -> Lineage | None:
        """See `LineageStore.find`."""
        state = self._database.states().get(tenant_id, TenantState())
        return state.lineages.get((model_name, number))
