"""What the management API tells of training, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to train; `parameters` is a JSON schema with descriptions, bounds and defaults."""

    name: str
    summary: str
    tasks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from: all that it takes to train it again, and what was measured.

    `environment` tells code, Python, libraries and machine of the process that trained it.
    """

    ref: str
    model: str
    version: int
    job_id: str
    recipe: str
    seed: int
    dataset: str
    dataset_digest: str
    weights_digest: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    base_files: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    created_by: str = ""
