"""Weights that were found elsewhere, such as by gradients: they are only measured here."""

from __future__ import annotations

import numpy as np

from modelry.domain.errors import InvalidInput
from modelry.explaining.contract import Attribution, Parts, Scores, Wish

GIVEN = "given"


def given(scores: Scores, parts: Parts, wish: Wish) -> Attribution:
    """The weights of the wish.

    Raises:
        InvalidInput: they are not as many as there are parts.
    """
    del scores
    if len(wish.given) != parts.count:
        raise InvalidInput(
            f"given has {len(wish.given)} weights; the input has {parts.count} parts.",
            param="given",
        )
    return Attribution(np.array(wish.given, np.float64))
