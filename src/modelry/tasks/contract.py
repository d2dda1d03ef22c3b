"""What tasks, the catalogue and workers tell each other about models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelry.domain.signature import Signature
from modelry.manifest.document import ManifestDocument
from modelry.processing.values import Context, Form, Stage
from modelry.runtime_api.tensors import Array

Schema = Mapping[str, Any]
"""A JSON schema; `format: binary` marks bytes, which doors take raw, in multipart or in base64."""


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
    """Processing steps, normalised: each a dict with its name under `step`.

    `notes` say what was assumed where the manifest has no steps of its own.
    """

    pre: Sequence[Mapping[str, Any]]
    post: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DefaultSteps:
    """Steps that a task takes by itself, as manifests write them, and what it assumed."""

    steps: Sequence[Any] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """What came out for some items: a JSON result per item, arrays with a row per item, or both."""

    items: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemForm:
    """How a task that answers item by item reads and renders.

    What is said about steps is for engines with tensors: the others take items and give results
    as they are described here.

    Args:
        item: schema of one item.
        options: schema of each option that a request may give, by name.
        result: schema of one item's result; a task that answers with arrays describes them.
        ends_in: stages that the last step may give.
        accepts: whether the last step's result will do, from what is known of it.
        hint: how to write steps that end so, for messages.
        render: what the last step gave, as results; it is also given the context and the
            position of the first item in its call, for errors that name items.
        count: what the items cost, by unit.
    """

    item: Schema
    options: Mapping[str, Schema]
    result: Schema
    ends_in: tuple[Stage, ...] = ()
    hint: str = ""
    render: Callable[[Any, Context, int], Results] = lambda *_: Results()
    count: Callable[[Context], dict[str, int]] = lambda _: {}
    accepts: Callable[[Form], bool] = lambda _: True


DefaultsOf = Callable[[ManifestDocument, ModelFacts], DefaultSteps]


def nothing_to_check(document: ManifestDocument, facts: ModelFacts) -> None:
    """The check of tasks whose models are one file."""
    del document, facts


def no_steps(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """The default steps of tasks that need none."""
    del document, facts
    return DefaultSteps()


@dataclass(frozen=True, slots=True)
class Task:
    """What one kind of question is.

    Args:
        name: as manifests write it.
        summary: one sentence for people.
        formats: formats of main files that can answer it.
        recognise: how sure it is that a model is for it; None when it cannot be.
        default_pre: steps before the engine where the manifest has none.
        default_post: steps after the engine where the manifest has none.
        check_files: refuses versions that lack files; raises `document.invalid(…)`.
        form: how items are read and results rendered; None for tasks without items.
        counts_tokens: whether the manifest's `limits.context` means something.
        generates: whether the manifest's `defaults` are those of text generation.
    """

    name: str
    summary: str
    formats: frozenset[str]
    recognise: Callable[[ModelFacts], Recognition | None]
    default_pre: DefaultsOf = no_steps
    default_post: DefaultsOf = no_steps
    check_files: Callable[[ManifestDocument, ModelFacts], None] = nothing_to_check
    form: ItemForm | None = None
    counts_tokens: bool = False
    generates: bool = False
