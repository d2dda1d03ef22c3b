"""The deployments' store."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.stores import rows
from modelry.adapters.sql.tables import DeploymentRow, TrafficShareRow, VersionRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.deployments import Deployment
from modelry.domain.errors import Conflict


class SqlDeploymentStore:
    """Implements `modelry.services.deployments.ports.DeploymentStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def list_all(self) -> list[Deployment]:
        """All deployments of all tenants."""
        return self._transactions.read_all_tenants("start deployments", _all)

    def get(self, tenant_id: str, name: str) -> Deployment | None:
        """One deployment, or None."""

        def work(session: Session) -> Deployment | None:
            row = session.get(DeploymentRow, (tenant_id, name))
            if row is None:
                return None
            query = select(TrafficShareRow).where(TrafficShareRow.deployment_name == name)
            return rows.deployment(row, session.scalars(query))

        return self._transactions.read(tenant_id, work)

    def put(self, deployment: Deployment) -> None:
        """Insert or replace.

        Raises:
            Conflict: a version that it serves is not there (any more).
        """

        def work(session: Session) -> None:
            _check_versions(session, deployment)
            _delete_shares(session, deployment.name)
            session.merge(rows.deployment_row(deployment))
            session.flush()
            session.add_all(rows.traffic_share_rows(deployment))

        self._transactions.write(deployment.tenant_id, work)

    def delete(self, tenant_id: str, name: str) -> bool:
        """Remove; False if it was not there."""

        def work(session: Session) -> bool:
            row = session.get(DeploymentRow, (tenant_id, name))
            if row is None:
                return False
            _delete_shares(session, name)
            session.delete(row)
            return True

        return self._transactions.write(tenant_id, work)

    def list(self, tenant_id: str) -> list[Deployment]:
        """A tenant's deployments, by name."""
        return self._transactions.read(tenant_id, _all)


def _all(session: Session) -> list[Deployment]:
    shares: dict[tuple[str, str], list[TrafficShareRow]] = defaultdict(list)
    for share in session.scalars(select(TrafficShareRow)):
        shares[share.tenant_id, share.deployment_name].append(share)
    query = select(DeploymentRow).order_by(DeploymentRow.tenant_id, DeploymentRow.name)
    return [rows.deployment(row, shares[row.tenant_id, row.name]) for row in session.scalars(query)]


def _check_versions(session: Session, deployment: Deployment) -> None:
    query = select(VersionRow.number).where(VersionRow.model_name == deployment.model_name)
    known = set(session.scalars(query))
    for share in deployment.traffic:
        if share.version_number not in known:
            raise Conflict(
                f"Version {share.version_number} of model '{deployment.model_name}' does not "
                "exist; it may just have been deleted.",
                param="version",
            )


def _delete_shares(session: Session, name: str) -> None:
    session.execute(delete(TrafficShareRow).where(TrafficShareRow.deployment_name == name))
