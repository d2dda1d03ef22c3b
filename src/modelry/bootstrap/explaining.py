"""Explanations by gradients that callers wait for, where this server does work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelry.bootstrap.works import explanation_limits
from modelry.services.explanation.direct import Calculating, DirectExplanations

if TYPE_CHECKING:
    from modelry.bootstrap.installation import Installation


def direct_explanations(installation: Installation) -> DirectExplanations | None:
    """None where a server leaves all work to others: then they are jobs."""
    settings = installation.settings
    if not settings.jobs:
        return None
    calculating = Calculating(
        installation.inference,
        installation.catalog.contents,
        installation.works,
        explanation_limits(settings),
    )
    return DirectExplanations(calculating, settings.light_jobs)
