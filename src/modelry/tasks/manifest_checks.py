"""Sections of a manifest that a task does not read are refused, never ignored silently."""

from __future__ import annotations

from dataclasses import fields

from modelry.manifest.document import ManifestDocument
from modelry.processing.graph import ProcessingGraph
from modelry.processing.parameters import Unfit
from modelry.runtime_api.generation import Sampling
from modelry.tasks.contract import Task

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


def check_generation_defaults(document: ManifestDocument, task: Task) -> None:
    """Refuse `defaults` that no engine would read.

    Raises:
        ManifestInvalid: an unknown name.
    """
    known = GENERATION_DEFAULTS if task.generates else ()
    for name in document.defaults:
        if name not in known:
            raise document.invalid(
                f"The task '{task.name}' has no default '{name}' in this format; it takes: "
                f"{', '.join(known) or 'none'}.",
                f"defaults.{name}",
            )


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
