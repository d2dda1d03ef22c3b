"""Asking before something is gone for good."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelry.cli.failures import usage_error

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the user agrees; programs must say `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise usage_error("this cannot be undone; confirm it.", "--yes")
    typer.confirm(question, abort=True, err=True)
