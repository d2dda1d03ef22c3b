"""How the learning rate changes: a pure function of the step, so that nothing needs resuming.

One-cycle and its shape follow Smith and Topin, "Super-Convergence" (2018); cosine decay follows
Loshchilov and Hutter, "SGDR" (2017), without restarts.
"""

from __future__ import annotations

import math

from modelry.training.options import ScheduleName

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4


def rate_factor(schedule: ScheduleName, step: int, total: int, warm_up: float = 0.0) -> float:
    """What the largest learning rate is multiplied by at a step.

    Args:
        schedule: which.
        step: from 0.
        total: how many steps there will be.
        warm_up: the share of them over which the rate rises linearly first; one-cycle rises by
            itself, over this share or 0.3.

    Returns:
        A number over 0 and at most 1.
    """
    if schedule == "one-cycle":
        return _one_cycle(step, total, warm_up or ONE_CYCLE_RISE)
    rising = math.ceil(total * warm_up)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return max(_cosine((step - rising) / max(1, total - rising), 1.0, 0.0), 1e-6)


def _one_cycle(step: int, total: int, rise: float) -> float:
    place = step / max(1, total - 1)
    if place < rise:
        return _cosine(place / rise, ONE_CYCLE_START, 1.0)
    return _cosine((place - rise) / (1 - rise), 1.0, ONE_CYCLE_END)


def _cosine(share: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
