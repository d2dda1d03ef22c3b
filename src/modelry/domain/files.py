"""Files that a tenant keeps under an id, as OpenAI's API has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FilePurpose(StrEnum):
    """What a file is for."""

    FINE_TUNE = "fine-tune"
    """Rows to train on."""
    FINE_TUNE_RESULTS = "fine-tune-results"
    """What a fine-tuning job measured; made by the server."""


@dataclass(frozen=True, slots=True)
class TenantFile:
    """A content of a tenant under an id.

    Attributes:
        file_id: `file-` and letters and digits.
        name: as its sender called it, without folders.
        digest: of its content.
        expires_at: it is deleted then; None for never.
    """

    tenant_id: str
    file_id: str
    name: str
    purpose: FilePurpose
    digest: str
    size_bytes: int
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
