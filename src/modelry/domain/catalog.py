"""Models, their immutable versions, and aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.domain.signature import Signature

NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
"""Names of models, deployments and aliases: they stand in URLs, labels and file names."""


def check_name(name: str, what: str = "name") -> str:
    """Return `name` unchanged when it may name a model, deployment or alias.

    Raises:
        InvalidInput: it may not.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidInput(
            f"{what.capitalize()} {name[:80]!r} is not allowed: use 1 to 64 lower-case letters, "
            "digits, '.', '_' or '-', beginning and ending with a letter or digit.",
            param=what,
        )
    return name


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a version.

    `role` is its key under `files:` in the manifest (`model`, `labels`, `tokenizer`, …);
    `digest` is `sha256:<64 hex digits>` of its content.
    """

    role: str
    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """A name in a tenant, with one task."""

    tenant_id: str
    name: str
    task: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable version of a model.

    `manifest` is the resolved manifest: every default filled in, JSON types only.
    `digest` covers the manifest and the files' digests: same bytes, same digest.
    `signature` is empty (no inputs) for formats without tensors, such as GGUF chat models.
    `quarantined_at` is when one of its files was found damaged on the server's disk: until that
    is mended the version is neither loaded nor served.
    """

    tenant_id: str
    model_name: str
    number: int
    digest: str
    task: str
    runtime: str
    manifest: Mapping[str, Any]
    signature: Signature
    files: tuple[ModelFile, ...]
    created_at: datetime
    created_by: str
    source: str
    quarantined_at: datetime | None = None

    @property
    def ref(self) -> str:
        """`name@number`, as people write it."""
        return f"{self.model_name}@{self.number}"


@dataclass(frozen=True, slots=True)
class Alias:
    """A movable name for a version."""

    tenant_id: str
    model_name: str
    name: str
    version_number: int
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One recorded move of an alias: from where, to where, who, when, why.

    `version_number` is None when the alias was removed.
    """

    tenant_id: str
    model_name: str
    name: str
    previous_number: int | None
    version_number: int | None
    moved_at: datetime
    moved_by: str
    reason: str
