"""The keys of the audit log, and what a start finds of it."""

from __future__ import annotations

import logging

from modelry.adapters.data_folder import DataFolder
from modelry.adapters.secrets.files import load_or_make_secret
from modelry.adapters.sql.database import Database
from modelry.domain.errors import Conflict
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.ports import AuditTrail
from modelry.services.audit.service import AuditService
from modelry.settings import Settings

log = logging.getLogger(__name__)

SERVER_ACTOR = "server"
"""In the audit log, who does what the server does by itself."""
_KEY_SETTING = "audit_key_fingerprint"


def open_chain_keys(settings: Settings, folder: DataFolder, database: Database) -> ChainKeys:
    """The keys of the audit chains in `database`.

    Raises:
        Conflict: the chains were begun with another secret.
    """
    known = database.keys.setting(_KEY_SETTING)
    is_lost = settings.audit_key is None and not folder.audit_secret.exists()
    keys = None if known is not None and is_lost else ChainKeys(audit_secret(settings, folder))
    if keys is None or known not in (None, keys.fingerprint):
        raise Conflict(
            "The audit log in this database was begun with another secret. Give that one as "
            "MODELRY_AUDIT_KEY (64 hexadecimal digits), or restore the file 'audit' in the folder "
            "of secrets.",
            param="audit_key",
        )
    if known is None:
        database.keys.put_setting(_KEY_SETTING, keys.fingerprint)
    return keys


def audit_secret(settings: Settings, folder: DataFolder) -> bytes:
    """The secret under which chains are; made if there is none.

    Raises:
        Conflict: its file is damaged, or may be read by others.
    """
    if settings.audit_key is not None:
        return bytes.fromhex(settings.audit_key.get_secret_value())
    return load_or_make_secret(
        folder.audit_secret,
        if_seen="keep signed heads elsewhere: who read it can write another past",
        if_lost="leaves nobody who could verify the audit log",
    )


def tell_rolled_back(audit: AuditService, trail: AuditTrail) -> None:
    """Enter into chains that do not fit their kept heads that they do not."""
    for head in audit.rolled_back():
        log.error(
            "the audit log of tenant %s was cut off or replaced: it does not fit the head of %s; "
            "see 'modelry audit verify'",
            head.tenant_id,
            head.at.isoformat(),
        )
        trail.append(
            head.tenant_id,
            actor=SERVER_ACTOR,
            action="audit.rolled_back",
            resource="/audit",
            outcome="found",
            detail={"head_sequence": head.sequence, "head_at": head.at.isoformat()},
        )
