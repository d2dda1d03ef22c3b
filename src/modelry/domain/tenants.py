"""What tenants are called, and how one is deleted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from modelry.domain.errors import InvalidInput

TENANT_ID_PATTERN = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])")
"""Ids of tenants: they stand after `@` in the names of shared deployments, and begin with a
letter, so that none is taken for a version's number.
"""


def check_tenant_id(tenant_id: str) -> str:
    """Return `tenant_id` unchanged when it may name a tenant.

    Raises:
        InvalidInput: it may not.
    """
    if not TENANT_ID_PATTERN.fullmatch(tenant_id):
        raise InvalidInput(
            f"Tenant id {tenant_id[:80]!r} is not allowed: use 2 to 40 lower-case letters, digits "
            "or '-', beginning with a letter and ending with a letter or digit.",
            param="tenant_id",
        )
    return tenant_id


class DeletionStage(StrEnum):
    """How far the deletion of a tenant is: the stage that is to be done next.

    Each may be done again after a crash. The keys go before the rows and files: from then on
    what is left of these is noise.
    """

    STOPPING = "stopping"
    """No key is admitted; its replicas end on every server."""
    KEYS = "keys"
    """Its encryption keys are destroyed."""
    ROWS = "rows"
    FILES = "files"
    CERTIFICATE = "certificate"
    """What was destroyed is to be written to the home tenant's audit trail."""
    CERTIFYING = "certifying"
    """A server is about to write it; another one takes over if it dies meanwhile."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class TenantDeletion:
    """A tenant that is being deleted, or was; outlives it, so that its id is never used again.

    `destroyed` counts what is gone: `rows` by table, `files`, `file_bytes`, and what is known of
    its encryption keys. It holds no word of the tenant's.
    """

    tenant_id: str
    deletion_id: str
    requested_at: datetime
    requested_by: str
    stage: DeletionStage
    stage_at: datetime
    destroyed: Mapping[str, Any] = field(default_factory=dict)
