"""Sections of a manifest that a task does not read are refused, never ignored silently."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from modelry.manifest.document import ManifestDocument
from modelry.processing.graph import ProcessingGraph
from modelry.processing.parameters import Unfit
from modelry.runtime_api.generation import Sampling
from modelry.tasks.contract import Schema, Task

GENERATION_DEFAULTS = (
    "system",
    *(one.name for one in fields(Sampling) if one.name != "logit_bias"),
)
"""What `defaults` may set for tasks that generate text."""


def check_context(document: ManifestDocument, task: Task) -> None:
    """Refuse `limits.context` where nothing counts tokens.

    Raises:
        ManifestInvalid: the task reads no text.
    """
    if document.limits.context is not None and not task.counts_tokens:
        raise document.invalid(
            f"'limits.context' bounds tokens, which models of the task '{task.name}' do not "
            "count; leave it out.",
            "limits.context",
        )


def check_plain_defaults(document: ManifestDocument, task: Task) -> None:
    """Refuse `defaults` that an engine without a graph would not read.

    Raises:
        ManifestInvalid: an unknown name, or a value that an option of the task does not take.
    """
    options = {} if task.form is None else task.form.options
    known = GENERATION_DEFAULTS if task.generates else tuple(options)
    for name, value in document.defaults.items():
        if name not in known:
            raise document.invalid(
                f"The task '{task.name}' has no default '{name}' in this format; it takes: "
                f"{', '.join(known) or 'none'}.",
                f"defaults.{name}",
            )
        if not task.generates and not _fits(value, options[name]):
            low, high = (options[name].get(bound) for bound in ("minimum", "maximum"))
            raise document.invalid(
                f"Default of '{name}' is {value!r:.80}; expected a {options[name]['type']} from "
                f"{low} to {high}.",
                f"defaults.{name}",
            )


def _fits(value: Any, schema: Schema) -> bool:
    """Whether an option with bounds takes a value."""
    types = (int,) if schema["type"] == "integer" else (int, float)
    return type(value) in types and schema["minimum"] <= value <= schema["maximum"]


def check_option_defaults(document: ManifestDocument, graph: ProcessingGraph) -> None:
    """Refuse `defaults` that requests could not give as options.

    Raises:
        ManifestInvalid: an unknown name, or a value that the option does not take.
    """
    known = graph.options
    for name, value in document.defaults.items():
        if name not in known:
            raise document.invalid(
                f"'{name}' is not an option of this version; its options are: "
                f"{', '.join(known) or 'none'}.",
                f"defaults.{name}",
            )
        try:
            known[name].read(value)
        except Unfit as reason:
            raise document.invalid(f"Default of '{name}': {reason}", f"defaults.{name}") from None
