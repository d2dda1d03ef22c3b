"""Reading what a job is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField


def check_fields(parameters: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse fields that nobody reads.

    Raises:
        UnsupportedField: names the first.
    """
    for name in parameters:
        if name not in known:
            raise UnsupportedField(
                f"The field '{str(name)[:80]}' is not known here; known are "
                f"{', '.join(sorted(known))}.",
                param=str(name)[:80],
            )


def text_of(parameters: Mapping[str, Any], name: str) -> str:
    """A field that must be a text.

    Raises:
        InvalidInput: it is not there, or no text.
    """
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must be given, as a text.", param=name)
    return value
