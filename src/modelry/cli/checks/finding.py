"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    GOOD = "good"
    NOTE = "note"
    """Works, with less than there could be."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` says how to mend it."""

    name: str
    verdict: Verdict
    found: str
    advice: str | None = None


def good(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.GOOD, found)


def note(name: str, found: str, advice: str | None = None) -> Finding:
    """It works, with less."""
    return Finding(name, Verdict.NOTE, found, advice)


def bad(name: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(name, Verdict.BAD, found, advice)
