"""Virtual environments for peers, so that their dependencies never mix with ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent


def python_for(peer: str) -> Path | None:
    """The interpreter of the peer's environment, made on first use; None if it cannot be had."""
    folder = HERE.parent.parent / ".venv" / "peers" / peer
    python = folder / "bin" / "python"
    if python.exists():
        return python
    uv = Path(sys.executable).parent / "uv"
    environment = os.environ | {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    try:
        subprocess.run([uv, "venv", "--quiet", folder], check=True, env=environment)
        requirements = HERE / f"requirements-{peer}.txt"
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, "-r", requirements],
            check=True,
            env=environment,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"peer {peer} cannot be installed ({error}); it is left out", file=sys.stderr)
        return None
    return python


def pinned(peers: Sequence[str]) -> list[str]:
    """What the environments of peers are made of, each once."""
    found: dict[str, None] = {}
    for peer in peers:
        found.update(dict.fromkeys((HERE / f"requirements-{peer}.txt").read_text().split()))
    return list(found)
