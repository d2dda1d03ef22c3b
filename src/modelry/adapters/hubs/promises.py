"""What is told when bytes are not what was promised of them."""

from __future__ import annotations

from modelry.domain.errors import DigestMismatch
from modelry.manifest.nodes import shorten
from modelry.manifest.sources import Source


def mismatch(source: Source, found: str | None) -> DigestMismatch:
    """The content of `source` has the digest `found` instead of the promised one."""
    return DigestMismatch(
        f"{shorten(str(source).partition('#')[0], 200)} has the digest {found}; the source "
        f"promises {source.digest}. The file was exchanged, or the promise is mistyped: compare "
        "them with what its maker says.",
        param="source",
    )
