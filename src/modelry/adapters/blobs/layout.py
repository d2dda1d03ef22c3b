"""Where things lie below the store's folder. Nothing that a caller sends becomes a path unless
it has been matched against a pattern without '/' and '.'.

    <root>/<tenant>/encrypted/<2 hex digits>/<64 hex digits>    0400, immutable; see content_file
    <root>/<tenant>/uploads/<upload id>                         0600, growing; see partial_file
    <root>/<tenant>/incoming/<random>                           0600, gone after a crash
    <root>/<tenant>/lock                                        held while contents come or go

Installations from before encryption have `contents` and `partial`; see migration.
"""

from __future__ import annotations

import re
from pathlib import Path

from modelry.adapters.blobs.durable import create_folder
from modelry.domain.errors import NotFound
from modelry.manifest.digests import check_digest

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Layout:
    """Paths of one tenant's part of a store."""

    def __init__(self, root: Path, tenant_id: str) -> None:
        if not _PLAIN.fullmatch(tenant_id):
            raise NotFound(f"Tenant {tenant_id[:80]!r} does not exist.")
        folder = root / tenant_id
        self._folder = folder
        self.contents = folder / "encrypted"
        self.partials = folder / "uploads"
        self.incoming = folder / "incoming"
        self.lock = folder / "lock"
        self.plain_contents = folder / "contents"
        self.plain_partials = folder / "partial"

    def create(self) -> None:
        """Make the folders, for their owner alone."""
        for folder in (self._folder, self.contents, self.partials, self.incoming):
            create_folder(folder)

    def content(self, digest: str) -> Path:
        """The file of a content.

        Raises:
            InvalidInput: not a digest.
        """
        hexadecimal = check_digest(digest).removeprefix("sha256:")
        return self.contents / hexadecimal[:2] / hexadecimal

    def partial(self, upload_id: str) -> Path:
        """The file of a partial content.

        Raises:
            NotFound: not an upload id.
        """
        if not _PLAIN.fullmatch(upload_id):
            raise NotFound(f"Upload {upload_id[:80]!r} does not exist.", param="upload_id")
        return self.partials / upload_id
