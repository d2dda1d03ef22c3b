"""What tenants share with each other, as rows."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import DeploymentGrantRow, DeploymentRow
from modelry.domain.sharing import DeploymentGrant


class SqlGrantRecords:
    """Implements `GrantRecords`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tenant_id: str = session.info["tenant_id"]

    def has_deployment(self, name: str) -> bool:
        """See `GrantRecords.has_deployment`."""
        return self._session.get(DeploymentRow, (self._tenant_id, name)) is not None

    def find(self, grant_id: str) -> DeploymentGrant | None:
        """See `GrantRecords.find`."""
        row = self._session.get(DeploymentGrantRow, (self._tenant_id, grant_id))
        return None if row is None else grant(row)

    def all(self) -> list[DeploymentGrant]:
        """See `GrantRecords.all`."""
        query = select(DeploymentGrantRow).order_by(
            DeploymentGrantRow.created_at, DeploymentGrantRow.grant_id
        )
        return [grant(row) for row in self._session.scalars(query)]

    def put(self, value: DeploymentGrant) -> None:
        """See `GrantRecords.put`."""
        self._session.merge(
            DeploymentGrantRow(
                tenant_id=value.tenant_id,
                grant_id=value.grant_id,
                deployment_name=value.deployment,
                grantee_id=value.grantee_id,
                created_at=value.created_at,
                created_by=value.created_by,
                expires_at=value.expires_at,
                revoked_at=value.revoked_at,
                note=value.note,
            )
        )
        self._session.flush()


def grants_to(session: Session, grantee_id: str) -> list[DeploymentGrant]:
    """What others share with a tenant; needs a session over all tenants."""
    query = (
        select(DeploymentGrantRow)
        .where(DeploymentGrantRow.grantee_id == grantee_id)
        .order_by(
            DeploymentGrantRow.tenant_id,
            DeploymentGrantRow.created_at,
            DeploymentGrantRow.grant_id,
        )
    )
    return [grant(row) for row in session.scalars(query)]


def unrevoked(session: Session) -> list[DeploymentGrant]:
    """The grants of all tenants that were not revoked; needs a session over all tenants."""
    query = select(DeploymentGrantRow).where(DeploymentGrantRow.revoked_at.is_(None))
    return [grant(row) for row in session.scalars(query)]


def grant(row: DeploymentGrantRow) -> DeploymentGrant:
    """A grant."""
    return DeploymentGrant(
        tenant_id=row.tenant_id,
        grant_id=row.grant_id,
        deployment=row.deployment_name,
        grantee_id=row.grantee_id,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        note=row.note,
    )
