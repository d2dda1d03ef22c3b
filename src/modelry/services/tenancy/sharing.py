"""Use cases on shared deployments: who lets whom call what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from modelry.domain.access import Permission, Principal, Tenant, TenantState
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.domain.sharing import DeploymentGrant
from modelry.domain.tenants import check_tenant_id
from modelry.services.tenancy.clock import utc_now
from modelry.services.tenancy.ports import KeyRecords, KeyStore
from modelry.services.tenancy.tokens import make_key_id

MAX_GRANTS = 10_000
MAX_NOTE_CHARS = 500


class SharingService:
    """Shares deployments with other tenants, lists what is shared, and takes it back.

    Whether a tenant exists is told to nobody: a grant to one that does not is kept, and lets
    nobody in, also not a tenant that is made later under that id.

    Args:
        store: keeps grants.
        changed: called after each change, in the thread that made it.
        clock: gives the time.
    """

    def __init__(
        self,
        store: KeyStore,
        changed: Callable[[], None],
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._changed = changed
        self._clock = clock

    def share(
        self,
        principal: Principal,
        deployment: str,
        grantee_id: str,
        *,
        expires_at: datetime | None = None,
        note: str = "",
    ) -> DeploymentGrant:
        """Let another tenant call a deployment.

        Args:
            principal: who asks.
            deployment: its name in the caller's tenant.
            grantee_id: the other tenant.
            expires_at: when it ends (with timezone); None for when it is revoked.
            note: why; both tenants see it.

        Raises:
            NotFound: no such deployment, or not one that the caller covers.
            InvalidInput: the tenant id, time or note is not allowed, or it is the own tenant.
            Conflict: it is shared with that tenant already.
        """
        principal.require(Permission.SHARING_WRITE)
        check_tenant_id(grantee_id)
        now = self._clock()
        _check(principal, grantee_id, expires_at, note, now)
        grant = DeploymentGrant(
            principal.tenant_id,
            make_key_id(),
            deployment,
            grantee_id,
            now,
            principal.key_id,
            expires_at,
            note=note,
        )

        def work(records: KeyRecords) -> None:
            if not principal.covers(deployment) or not records.grants.has_deployment(deployment):
                raise NotFound(
                    f"Deployment '{deployment[:100]}' does not exist.", param="deployment"
                )
            grants = records.grants.all()
            for other in grants:
                same = (other.deployment, other.grantee_id) == (deployment, grantee_id)
                if same and other.is_valid_at(now):
                    raise Conflict(
                        f"Deployment '{deployment}' is shared with '{grantee_id}' already, by "
                        f"grant '{other.grant_id}'; revoke that one first.",
                        param="tenant_id",
                    )
            if len(grants) >= MAX_GRANTS:
                raise Conflict(f"The tenant has {MAX_GRANTS} grants, the most it can have.")
            records.grants.put(grant)

        self._store.write(principal.tenant_id, work)
        self._changed()
        return grant

    def list_given(self, principal: Principal) -> list[DeploymentGrant]:
        """What the caller's tenant shares or has shared, oldest first."""
        principal.require(Permission.SHARING_READ)
        found = self._store.read(principal.tenant_id, lambda records: records.grants.all())
        return [one for one in found if principal.covers(one.deployment)]

    def list_received(self, principal: Principal) -> list[DeploymentGrant]:
        """What others share with the caller's tenant now, by owner."""
        principal.require(Permission.SHARING_READ)
        tenant = self._store.read(principal.tenant_id, lambda records: records.tenant())
        now = self._clock()
        return [
            one
            for one in self._store.grants_to(principal.tenant_id)
            if tenant is not None and _holds(one, tenant, now) and principal.covers(one.shared_name)
        ]

    def revoke(self, principal: Principal, grant_id: str) -> DeploymentGrant:
        """Take a grant back; its open requests are cut off. Once more changes nothing.

        Raises:
            NotFound: no such grant in the caller's tenant.
        """
        principal.require(Permission.SHARING_WRITE)

        def work(records: KeyRecords) -> DeploymentGrant:
            grant = records.grants.find(grant_id)
            if grant is None or not principal.covers(grant.deployment):
                raise NotFound(f"Grant '{grant_id[:80]}' does not exist.", param="grant_id")
            if grant.revoked_at is not None:
                return grant
            revoked = replace(grant, revoked_at=self._clock())
            records.grants.put(revoked)
            return revoked

        grant = self._store.write(principal.tenant_id, work)
        self._changed()
        return grant

    def holding(self) -> list[DeploymentGrant]:
        """Every grant of every tenant that lets somebody in now; for the server's routes."""
        now = self._clock()
        tenants = {one.tenant_id: one for one in self._store.all_tenants()}
        return [
            one
            for one in self._store.all_grants()
            if (grantee := tenants.get(one.grantee_id)) is not None and _holds(one, grantee, now)
        ]


def _holds(grant: DeploymentGrant, grantee: Tenant, now: datetime) -> bool:
    return (
        grant.is_valid_at(now)
        and grantee.state is TenantState.ACTIVE
        and grantee.created_at <= grant.created_at  # else it was meant for nobody
    )


def _check(
    principal: Principal, grantee_id: str, expires_at: datetime | None, note: str, now: datetime
) -> None:
    if grantee_id == principal.tenant_id:
        raise InvalidInput(
            f"'{grantee_id}' is the caller's own tenant; give another one's id.", param="tenant_id"
        )
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
        raise InvalidInput(
            f"The time '{expires_at.isoformat()}' has passed or has no timezone; give one in the "
            "future, such as '2030-01-31T00:00:00Z'.",
            param="expires_at",
        )
    if len(note) > MAX_NOTE_CHARS or not note.isprintable():
        raise InvalidInput(
            f"The note must have at most {MAX_NOTE_CHARS} printable characters.", param="note"
        )
