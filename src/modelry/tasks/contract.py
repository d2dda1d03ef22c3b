"""What tasks, the catalogue and workers tell each other about models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelry.domain.signature import Signature


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model's files before its manifest is resolved.

    `files` are readable paths, `formats` what the files are, both by role; `signature` and
    `metadata` are the main file's.
    """

    format: str
    signature: Signature
    metadata: Mapping[str, str]
    files: Mapping[str, Path]
    formats: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recognition:
    """How sure a task is (0..1) that it suits a model, and what made it think so."""

    task: str
    score: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """Processing steps, normalised: each a dict with its name under `step`."""

    pre: Sequence[Mapping[str, Any]]
    post: Sequence[Mapping[str, Any]]
