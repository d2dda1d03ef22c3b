"""Who a key or a member is now, for what the server does in their name later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from modelry.domain.access import MEMBER_PREFIX, Principal, TenantState
from modelry.domain.errors import PermissionDenied, TenantSuspended
from modelry.services.tenancy.ports import KeyRecords, KeyStore


class KnownCallers:
    """Finds callers by their ids.

    Args:
        store: has keys and members.
        clock: gives the time.
    """

    def __init__(
        self, store: KeyStore, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock

    def principal(self, tenant_id: str, key_id: str) -> Principal:
        """The caller that a key or member of a tenant is now.

        Raises:
            PermissionDenied: it is none any more: revoked, expired, disabled or deleted.
            TenantSuspended: its tenant is suspended or being deleted.
        """
        return self._store.read(tenant_id, lambda records: self._found(records, key_id))

    def _found(self, records: KeyRecords, key_id: str) -> Principal:
        tenant = records.tenant()
        if tenant is None or tenant.state is not TenantState.ACTIVE:
            raise TenantSuspended("The tenant is suspended or being deleted.")
        if key_id.startswith(MEMBER_PREFIX):
            member = records.members.find(key_id.removeprefix(MEMBER_PREFIX))
            if member is not None and member.disabled_at is None:
                return member.principal()
        else:
            key = records.find(key_id)
            if key is not None and key.is_valid_at(self._clock()):
                return key.principal()
        raise PermissionDenied(
            f"The key or member '{key_id}', in whose name this was to be done, was revoked or "
            "disabled, or has expired. Ask for it again with another key."
        )
