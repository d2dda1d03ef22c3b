"""Leave-one-out: what the score loses when one part is taken away, all others staying."""

from __future__ import annotations

import numpy as np

from modelry.explaining.contract import Attribution, Parts, Scores, Wish
from modelry.explaining.settling import Asked


def leave_one_out(scores: Scores, parts: Parts, wish: Wish) -> Attribution:
    """The loss by each part.

    Raises:
        InvalidInput: the wish leaves fewer calls than there are parts.
    """
    count = parts.count
    wish.bounded(count + 1, count + 1, count)
    presences = np.ones((count + 1, count))
    np.fill_diagonal(presences, 0)
    found = scores(presences)
    asked = Asked(count + 1, count + 1, is_complete=True)
    return Attribution(found[-1] - found[:-1], asked.to_wire())
