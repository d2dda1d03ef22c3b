"""Turns what an engine library said into a reason that may be told: short, and without paths."""

from __future__ import annotations

import re
from pathlib import Path

from modelry.runtime_api.engine import LoadSpec

MAX_REASON_CHARS = 600
_PATH = re.compile(r"(?<![\w.])/(?:[\w.@+~-]+/)+([\w.@+~-]*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def tell_reason(raw: str, spec: LoadSpec | None = None) -> str:
    """`raw` on one line, with paths cut to file names and at most 600 characters.

    Files of `spec` are called by the names that the manifest gives them.
    """
    text = _COLOUR.sub("", raw)
    if spec is not None:
        for role, path in spec.files.items():
            text = text.replace(str(path), file_name(spec, role))
    text = " ".join(_PATH.sub(r"\1", text).split())
    if len(text) > MAX_REASON_CHARS:
        text = text[: MAX_REASON_CHARS - 2].rstrip() + " …"
    return text or "the engine gave no reason"


def file_name(spec: LoadSpec, role: str) -> str:
    """What the manifest calls the file of `role`."""
    entry = spec.manifest.get("files", {}).get(role, {})
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else Path(spec.files[role]).name
