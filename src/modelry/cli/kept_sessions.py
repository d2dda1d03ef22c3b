"""Sessions of the person at this terminal, in a file that nobody else reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelry.client.connection import BrowserSession


def path() -> Path:
    """Where sessions are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "modelry" / "sessions.json"


def kept(url: str) -> BrowserSession | None:
    """The session with the server at `url`, if one is kept."""
    from modelry.client.connection import BrowserSession

    found = _read().get(url)
    if not isinstance(found, dict):
        return None
    return BrowserSession(str(found.get("cookie", "")), str(found.get("csrf", "")))


def keep(url: str, session: BrowserSession | None) -> None:
    """Keep the session with a server, in place of the one before; None forgets it."""
    sessions = _read()
    sessions.pop(url, None)
    if session is not None:
        sessions[url] = {"cookie": session.cookie, "csrf": session.csrf}
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as sink:
        json.dump(sessions, sink)
    fresh.replace(file)


def _read() -> dict[str, object]:
    try:
        found = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
