"""Reads a deployment's engine options: known names, right types, sane ranges."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from modelry.domain.errors import InvalidInput


class EngineOptions:
    """Options of one load; each reader checks its value, `finish` refuses unknown names."""

    def __init__(self, options: Mapping[str, Any], runtime: str) -> None:
        self._options = options
        self._runtime = runtime
        self._known: list[str] = []

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """The whole number called `name`, from `low` to `high`.

        Raises:
            InvalidInput: of another type or out of range.
        """
        value = self._take(name, default)
        if type(value) is not int or not low <= value <= high:
            raise InvalidInput(
                f"Engine option '{name}' is {value!r:.80}; expected a whole number from {low} to "
                f"{high}.",
                param=name,
            )
        return value

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """The word called `name`, one of `choices`.

        Raises:
            InvalidInput: another word.
        """
        value = self._take(name, default)
        if not isinstance(value, str) or value not in choices:
            raise InvalidInput(
                f"Engine option '{name}' is {value!r:.80}; expected one of: {', '.join(choices)}.",
                param=name,
            )
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """The switch called `name`.

        Raises:
            InvalidInput: neither true nor false.
        """
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise InvalidInput(
                f"Engine option '{name}' is {value!r:.80}; expected true or false.", param=name
            )
        return value

    def finish(self) -> None:
        """Refuse what no reader asked for.

        Raises:
            InvalidInput: an option that this runtime does not have.
        """
        unknown = sorted(set(map(str, self._options)) - set(self._known))
        if unknown:
            raise InvalidInput(
                f"Runtime '{self._runtime}' has no engine option '{unknown[0][:80]}'; it has: "
                f"{', '.join(sorted(self._known))}.",
                param=unknown[0],
            )

    def _take(self, name: str, default: Any) -> Any:
        self._known.append(name)
        value = self._options.get(name)
        return default if value is None else value


def available_cores() -> int:
    """How many cores this process may run on."""
    return max(1, len(os.sched_getaffinity(0)))


def shared_cores() -> int:
    """All cores of a small machine; of a larger one, one stays free for the gateway."""
    cores = available_cores()
    return cores if cores <= 2 else cores - 1
