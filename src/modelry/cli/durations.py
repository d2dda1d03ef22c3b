"""Durations as people write them."""

from __future__ import annotations

import re

from modelry.cli.failures import usage_error

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def seconds_of(text: str, option: str) -> float:
    """Seconds of `90`, `90s`, `10m`, `2h` or `1d`."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise usage_error(f"'{text[:40]}' is no duration such as 90s, 10m, 2h or 1d.", option)
    return float(found[1]) * _UNIT_S[found[2]]
