"""From exceptions to words on stderr and an exit code.

0 done · 1 it failed · 2 wrong usage · 3 the server is not reachable, or the key is not good
enough · 130 interrupted
"""

from __future__ import annotations

import typer

FAILED = 1
USAGE = 2
NO_ACCESS = 3
INTERRUPTED = 130


def usage_error(message: str, option: str | None = None) -> typer.BadParameter:
    """An error of usage, told with the command's usage line."""
    return typer.BadParameter(message, param_hint=option)


def told(error: Exception) -> tuple[list[str], int] | None:
    """Lines that tell `error`, and the exit code; None for what is a defect of ours."""
    from modelry.client.errors import (
        ModelryError,
        NotReachable,
        PermissionDenied,
        Unauthenticated,
    )

    if not isinstance(error, ModelryError):
        return _told_server_error(error)
    lines = [f"Error: {error.message}"]
    if isinstance(error, Unauthenticated):
        lines.append("Give a key with MODELRY_API_KEY or --api-key.")
    if error.retry_after_s is not None:
        lines.append(f"It may work in {error.retry_after_s:g} s.")
    if error.code == "internal_error" and error.request_id:
        lines.append(f"Request id: {error.request_id}")
    has_no_access = isinstance(error, NotReachable | PermissionDenied | Unauthenticated)
    return lines, NO_ACCESS if has_no_access or error.code == "unauthenticated" else FAILED


def _told_server_error(error: Exception) -> tuple[list[str], int] | None:
    """Errors of a server that is started in this process (`modelry up`), and of files."""
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return [f"Error: {error.strerror or error}{place}"], FAILED
    message = getattr(error, "message", None)
    if isinstance(message, str) and isinstance(getattr(error, "code", None), str):
        return [f"Error: {message}"], FAILED
    return None
