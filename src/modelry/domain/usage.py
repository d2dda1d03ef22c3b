"""What one request used."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One request as it is metered.

    `status` is `ok` or an error code; `units` counts what the task counts (`requests`,
    `input_tokens`, `output_tokens`, `cached_tokens`, `images`, `items`).
    """

    request_id: str
    tenant_id: str
    key_id: str
    deployment: str
    version_number: int
    task: str
    status: str
    started_at: datetime
    duration_s: float
    units: dict[str, int] = field(default_factory=dict)
