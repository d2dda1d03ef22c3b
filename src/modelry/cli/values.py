"""Options such as `threads=4`, `0..2` and `1=90,2=10`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelry.cli.failures import usage_error

Value = bool | int | float | str

_RANGE = re.compile(r"([0-9]{1,4})(?:\.\.([0-9]{1,4}))?")


def plain_value(text: str) -> Value:
    """`true`, a number, or a text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def pairs(given: Sequence[str] | None, option: str) -> dict[str, Value] | None:
    """`name=value` options as a mapping; None when there are none."""
    if not given:
        return None
    found: dict[str, Value] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise usage_error(f"'{one[:80]}' is not of the form name=value.", option)
        found[name] = plain_value(value)
    return found


def replica_range(text: str, option: str) -> tuple[int, int]:
    """Least and most replicas, of `2` or `0..2`."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise usage_error(f"'{text[:40]}' is no number or range such as 2 or 0..2.", option)
    least = int(found[1])
    most = least if found[2] is None else int(found[2])
    if least > most or most == 0:
        raise usage_error(f"'{text}' allows no replica; write the least first.", option)
    return least, most


def traffic_shares(text: str, option: str) -> dict[int, float]:
    """Percent by version, of `1=90,2=10`."""
    shares: dict[int, float] = {}
    for one in text.split(","):
        number, _, percent = one.partition("=")
        try:
            shares[int(number)] = float(percent)
        except ValueError:
            raise usage_error(
                f"'{one[:40]}' is no share; write version=percent, such as 1=90,2=10.", option
            ) from None
    if abs(sum(shares.values()) - 100) > 1e-6:
        raise usage_error(f"the shares add up to {sum(shares.values()):g}, not 100.", option)
    return shares
