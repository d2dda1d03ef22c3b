"""Paths of the APIs, with names made safe for them."""

from __future__ import annotations

from urllib.parse import quote

from modelry.client.errors import InvalidInput

API = "/api/v1"


def part(name: str | int, what: str = "name") -> str:
    """One segment of a path.

    Raises:
        InvalidInput: empty, or a word that would name another place.
    """
    text = str(name)
    if text in ("", ".", ".."):
        raise InvalidInput(f"{text!r} is no {what}.", param=what)
    return quote(text, safe="")


def api(*parts: str | int) -> str:
    """A path of the management API, from its segments."""
    return "/".join((API, *(part(one) for one in parts)))
