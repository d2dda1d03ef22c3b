"""Queries and answers of lists, as OpenAI has them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.request import ApiRequest
from modelry.protocols.http.values import shown


def check_queries(request: ApiRequest, known: Collection[str]) -> dict[str, str]:
    """The query parameters, each once.

    Raises:
        UnsupportedField: one is not known.
        InvalidInput: one is there twice.
    """
    found: dict[str, str] = {}
    for name, value in request.raw.query_params.multi_items():
        if name.partition("[")[0] not in known:
            raise UnsupportedField(
                f"The query parameter '{name[:80]}' is not known here; known are: "
                f"{', '.join(known) or 'none'}.",
                param=name[:80],
            )
        if name in found:
            raise InvalidInput(
                f"The query parameter '{name[:80]}' is there twice.", param=name[:80]
            )
        found[name] = value
    return found


def limit_of(queries: dict[str, str], usual: int, most: int) -> int:
    """How many are wanted at most.

    Raises:
        InvalidInput: no whole number from 1 to `most`.
    """
    text = queries.get("limit")
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise InvalidInput(
            f"limit is {shown(text)}; expected a whole number from 1 to {most}.", param="limit"
        )
    return int(text)


def chosen_of(queries: dict[str, str], name: str, allowed: Sequence[str], usual: str) -> str:
    """One of some words.

    Raises:
        InvalidInput: none of them.
    """
    value = queries.get(name, usual)
    if value not in allowed:
        raise InvalidInput(
            f"{name} is {shown(value)}; expected one of: {', '.join(allowed)}.", param=name
        )
    return value


def list_answer(entries: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": list(entries),
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
        "has_more": has_more,
    }
