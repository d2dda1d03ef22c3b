"""Verifies audit chains without a server: from the database and the secret alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelry.adapters.audit.head_file import HeadFile
from modelry.adapters.data_folder import DataFolder
from modelry.adapters.sql.database import existing_database
from modelry.bootstrap.audit_log import audit_secret
from modelry.domain.audit import SignedHead, Verification
from modelry.domain.errors import NotFound
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.service import AuditService
from modelry.settings import Settings


def verify_offline(
    settings: Settings, heads: Sequence[SignedHead], tenant_id: str | None = None
) -> Iterator[Verification]:
    """Check the chains of all tenants, or of one; a server may be running meanwhile.

    Nothing is written, and no schema is changed.

    Args:
        settings: say where database, secret and kept heads are.
        heads: to compare with, besides those that were kept.
        tenant_id: whose chain; None for all.

    Raises:
        NotFound: database, secret or tenant are not there.
        Conflict: the database has no audit log, or the secret may be read by others.
    """
    folder = DataFolder(settings.data, secrets=settings.secrets, blobs=settings.blobs)
    keys = ChainKeys(_secret(settings, folder))
    url = settings.database_url
    if url is None and not (folder.root / "modelry.db").exists():
        raise NotFound("The data folder holds no database; name another one with --data.")
    kept = HeadFile(settings.audit_heads or folder.audit_heads)
    with existing_database(url.get_secret_value() if url else folder.database_url) as database:
        audit = AuditService(database.audit, keys, kept)
        known = audit.tenant_ids()
        if tenant_id is not None and tenant_id not in known:
            raise NotFound(f"There is no tenant '{tenant_id[:80]}'.")
        for each in known if tenant_id is None else (tenant_id,):
            yield audit.verify_tenant(each, heads)
        if tenant_id is None:
            yield from audit.vanished(heads)


def _secret(settings: Settings, folder: DataFolder) -> bytes:
    if settings.audit_key is None and not folder.audit_secret.exists():
        raise NotFound(
            "The secret of the audit log is not in the folder of secrets; name another data folder "
            "with --data, or give the secret as MODELRY_AUDIT_KEY."
        )
    return audit_secret(settings, folder)
