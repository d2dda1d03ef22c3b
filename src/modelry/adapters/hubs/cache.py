"""The download cache: verified files by digest, and what is still being downloaded.

Layout below its root: `files/<hex digest>`, `partial/<key>` (resumable downloads), `names/<key>`
(which digest a source was found to have), `locks/<key>`. Files are found through the source that
they were fetched from, never by digest alone: a digest proves no right to the bytes.
Losing the cache loses time, nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelry.manifest.digests import DIGEST_PATTERN, digest_of_file

OnBytes = Callable[[int], None]
STALE_AFTER_S = 14 * 86_400.0
_IN_USE_S = 3600.0
_POLL_S = 0.1


class DownloadCache:
    """Files by source below a folder; safe for several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self._files = root / "files"
        self._partial = root / "partial"
        self._names = root / "names"
        self._locks = root / "locks"

    def prepare(self) -> None:
        """Make the folders, and drop downloads that nobody went on with for two weeks."""
        for folder in (self._files, self._partial, self._names, self._locks):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        oldest_s = time.time() - STALE_AFTER_S
        for path in self._partial.iterdir():
            if _modified_s(path) < oldest_s:
                path.unlink(missing_ok=True)

    def find(self, source: str, on_bytes: OnBytes | None = None) -> tuple[str, Path] | None:
        """Digest and file that `source` was found to have, verified again by reading it."""
        try:
            digest = (self._names / _key(source)).read_text().strip()
        except FileNotFoundError:
            return None
        if not DIGEST_PATTERN.fullmatch(digest):
            return None
        path = self._files / digest.removeprefix("sha256:")
        try:
            if digest_of_file(path, on_bytes) == digest:
                os.utime(path)  # used now, so not to be pruned soon
                return digest, path
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        return None

    def keep(self, path: Path, digest: str, source: str) -> Path:
        """Move a verified file in, and note that `source` has its `digest`."""
        target = self._files / digest.removeprefix("sha256:")
        path.chmod(0o600)
        os.utime(path)
        path.replace(target)
        self.remember(source, digest)
        return target

    def remember(self, source: str, digest: str) -> None:
        """Note that `source` was found to have `digest`."""
        note = self._names / f".{uuid.uuid4().hex}"
        note.write_text(digest)
        note.replace(self._names / _key(source))

    def prune(self, max_bytes: int) -> None:
        """Remove files until the rest fits: those first that were not used for longest.

        Files of the last hour stay, since somebody may be about to read them.
        """
        known = sorted(
            ((_modified_s(path), path) for path in self._files.iterdir()), key=lambda one: one[0]
        )
        total = sum(_size(path) for _, path in known)
        newest_s = time.time() - _IN_USE_S
        for modified_s, path in known:
            if total <= max_bytes or modified_s > newest_s:
                break
            total -= _size(path)
            path.unlink(missing_ok=True)

    def partial(self, what: str) -> Path:
        """Where the unfinished download of `what` lies; its folder is there, it may not be."""
        return self._partial / _key(what)

    @contextmanager
    def lock(self, what: str, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the only right to download `what`, across threads and processes.

        Args:
            what: what is to be downloaded.
            while_waiting: called ten times a second; what it raises ends the waiting.
        """
        descriptor = os.open(self._locks / _key(what), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    while_waiting()
                    time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)


def place_file(cached: Path, folder: Path, name: str) -> Path:
    """Put a cached file into `folder` as `name`: a hard link where possible, else a copy."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}"
    target = folder / name
    try:
        try:
            os.link(cached, temporary)
        except OSError:
            shutil.copyfile(cached, temporary)
        temporary.replace(target)
    finally:
        # renaming a link onto another link to the same file leaves both names
        temporary.unlink(missing_ok=True)
    return target


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _key(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:40]
