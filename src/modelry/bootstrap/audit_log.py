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
    given = settings.audit_key
    keys = ChainKeys(
        bytes.fromhex(given.get_secret_value())
        if given is not None
        else load_or_make_secret(folder.audit_secret)
    )
    known = database.keys.setting(_KEY_SETTING)
    if known is not None and known != keys.fingerprint:
        raise Conflict(
            "The audit log in this database was begun with another secret. Give that one as "
            "MODELRY_AUDIT_KEY (64 hexadecimal digits), or restore the file 'audit' in the data "
            "folder's secrets.",
            param="audit_key",
        )
    if known is None:
        database.keys.put_setting(_KEY_SETTING, keys.fingerprint)
    return keys


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
