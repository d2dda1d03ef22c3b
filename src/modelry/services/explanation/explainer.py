"""Explanations that a caller waits for, whichever way they are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelry.domain.access import Principal
from modelry.explaining.asked import Asked
from modelry.explaining.contract import Wish
from modelry.gradients.contract import NAMES
from modelry.services.explanation.direct import DirectExplanations
from modelry.services.inference.answers import Explanation
from modelry.services.inference.explanations import OnProgress, check_method
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService


class Explainer:
    """Has the worker that serves explain, or a process that follows gradients.

    Args:
        inference: asks workers.
        direct: asks processes; None where this server starts none, as it leaves all jobs to others.
    """

    def __init__(
        self, inference: InferenceService, direct: DirectExplanations | None = None
    ) -> None:
        self._inference = inference
        self._direct = direct

    def can_wait_for(self, wish: Wish) -> bool:
        """Whether a caller can wait for it here; else it is a job."""
        return self._direct is not None or wish.method not in NAMES

    def check(self, principal: Principal, target: Target, wish: Wish) -> None:
        """Refuse what cannot be explained so, as far as it can be told before anything is asked.

        Raises:
            PermissionDenied, NotSupported, InvalidInput: as `DirectExplanations.check`.
            NotSupported: this server follows no gradients while somebody waits.
        """
        if self._direct is not None and wish.method in NAMES:
            self._direct.check(principal, target, str(wish.method))
        else:
            check_method(wish)

    async def explain(
        self,
        principal: Principal,
        target: Target,
        item: Mapping[str, Any],
        options: Mapping[str, Any],
        wish: Wish,
        *,
        on_progress: OnProgress | None = None,
    ) -> Explanation:
        """Say why a version answers one item as it does; see `InferenceService.explain`.

        Raises:
            ModelryError: as `InferenceService.explain` and `DirectExplanations.explain`.
        """
        if self._direct is not None and wish.method in NAMES:
            asked = Asked(item, options, wish)
            return await self._direct.explain(principal, target, asked, on_progress)
        return await self._inference.explain(
            principal, target, item, options, wish, on_progress=on_progress
        )
