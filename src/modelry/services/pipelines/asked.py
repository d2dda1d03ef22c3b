"""The parameters that jobs `register` and `deploy` have in common, read from what callers send."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.services.catalog.aliases import check_alias_name
from modelry.services.jobs.handlers import Json
from modelry.services.pipelines.conditions import read_conditions
from modelry.services.pipelines.gate import WHEN


def check_known(kind: str, given: Json, known: Collection[str]) -> None:
    """See that there is nothing but what is known.

    Raises:
        UnsupportedField: there is.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UnsupportedField(
            f"'{unknown[0][:80]}' is not known; a job '{kind}' takes: {', '.join(sorted(known))}.",
            param=unknown[0][:80],
        )


def read_alias(given: Json) -> str:
    """The alias that is asked for; empty when none is.

    Raises:
        InvalidInput: an alias cannot be called so.
    """
    alias = read_text(given, "alias")
    if alias:
        check_alias_name(alias)
    return alias


def read_when(given: Json) -> list[str]:
    """The conditions, each as it will be told.

    Raises:
        InvalidInput: they cannot be read as such.
    """
    return [str(one) for one in read_conditions(given.get(WHEN))]


def read_text(given: Json, name: str) -> str:
    """A text; empty when it is not given.

    Raises:
        InvalidInput: it is no text.
    """
    value: Any = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise InvalidInput(f"'{name}' is {str(value)[:80]!r}; expected a name.", param=name)
    return value
