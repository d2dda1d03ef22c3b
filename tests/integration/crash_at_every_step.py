"""Run by test_catalog_crashes.py: upload, registration and alias, killed at every step.

A child does the work and is killed (SIGKILL) at its first step, another at its second, and so on
until one gets through; after each kill the state is checked, and the work goes on from there. A
step is a system call that changes files, or the commit of a transaction, before and after.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.crypto.key_file import KeyFile
from modelry.adapters.sql.database import Database, open_database
from modelry.domain.catalog import ModelFile
from modelry.domain.errors import NotFound
from modelry.domain.signature import NO_TENSORS
from modelry.manifest.digests import digest_of_bytes
from modelry.services.catalog.aliases import Aliases
from modelry.services.catalog.quarantine import Quarantine
from modelry.services.catalog.registration import Registrar, ResolvedManifest
from modelry.services.catalog.uploads import Upload, Uploads
from modelry.services.encryption.service import EncryptionService
from modelry.testing.samples import add_tenants, principal

ME = principal()
TENANT = ME.tenant_id


def now() -> datetime:
    return datetime.now(UTC)


class Installation:
    """A data folder with its services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database: Database = open_database(f"sqlite:///{folder}/modelry.db")
        encryption = EncryptionService(self.database.data_keys, KeyFile(folder / "keys"))
        self.blobs = FileBlobStore(folder / "blobs", encryption)
        self.uploads = Uploads(
            self.database.catalog,
            self.blobs,
            now,
            2**20,
            Quarantine(self.database.catalog, self.blobs, now),
        )
        self.registrar = Registrar(self.database.catalog, now)
        self.aliases = Aliases(self.database.catalog, now)

    def close(self) -> None:
        self.database.close()

    def open_uploads(self) -> list[Upload]:
        records = self.database.catalog.read(TENANT, lambda rows: rows.uploads.all())
        return [self.uploads.get(ME, record.upload_id) for record in records]

    def go_on(self, content: bytes, *, promise: bool) -> None:
        """Do, or finish, everything."""
        digest = digest_of_bytes(content)
        open_uploads = self.open_uploads()
        upload = (
            open_uploads[0]
            if open_uploads
            else self.uploads.begin(ME, len(content), digest if promise else None)
        )
        while upload.digest is None:
            piece = content[upload.offset : upload.offset + len(content) // 3 + 1]
            upload = self.uploads.append(
                ME, upload.upload_id, upload.offset, [piece[:7], piece[7:]]
            )
        assert upload.digest == digest, "resumed with other bytes"
        file = ModelFile("model", "m.onnx", upload.digest, upload.size_bytes)
        document = {"name": "pets", "task": "tensor", "runtime": "onnx", "files": digest}
        resolved = ResolvedManifest(document, NO_TENSORS, (file,))
        version = self.registrar.register(ME, resolved, "upload").version
        assert version.number == 1, "registered twice"
        self.aliases.set(ME, "pets", "champion", version.number)
        # a kill between `forget`'s two deletions leaves the moves of the round before
        moves = self.aliases.history(ME, "pets")
        assert all(move.previous_number != move.version_number for move in moves), "moved twice"
        assert all(
            later.previous_number == earlier.version_number
            for later, earlier in itertools.pairwise(moves)
        ), "a move is missing"
        self.uploads.abort(ME, upload.upload_id)

    def check(self, content: bytes) -> None:
        """Nothing dangles and nothing is half done."""
        raw = sqlite3.connect(self.folder / "modelry.db")
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        raw.close()
        for digest in self.database.catalog.read(TENANT, lambda rows: rows.blobs.digests()):
            assert self.blobs.find(TENANT, digest) is not None
        for digest in self.blobs.digests(TENANT):
            assert digest_of_bytes(b"".join(self.blobs.read(TENANT, digest))) == digest
        records = self.database.catalog.read(TENANT, lambda rows: rows.uploads.all())
        for record in records:
            partial = self.blobs.partial(TENANT, record.upload_id)
            assert partial is None or partial.size_bytes <= len(content)
        for path in self.folder.rglob("*"):
            assert path.is_dir() or content[100:200] not in path.read_bytes(), "in the clear"
        for model in self.database.catalog.read(TENANT, lambda rows: rows.models.all()):
            versions = self.database.catalog.read(
                TENANT, lambda rows, name=model.name: rows.models.list_versions(name)
            )
            assert [len(one.files) for one in versions] == [1], "half registered"


def kill_at(step: int) -> None:
    """Have this process killed at its `step`-th step."""
    steps = itertools.count(1)

    def count() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count()
            result = original(*args, **kwargs)
            count()
            return result

        return call

    for name in ("write", "fsync", "fchmod", "utime", "rename", "unlink", "mkdir", "ftruncate"):
        setattr(os, name, traced(getattr(os, name)))
    event.listen(Session, "before_commit", lambda session: count())
    event.listen(Session, "after_commit", lambda session: count())


def main(folder: Path, *, promise: bool) -> int:
    content = bytes(range(256)) * 20
    installation = Installation(folder)
    add_tenants(installation.database)
    installation.close()
    for step in itertools.count(1):
        child = os.fork()
        if child == 0:
            kill_at(step)
            installation = Installation(folder)
            installation.go_on(content, promise=promise)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        installation = Installation(folder)
        installation.check(content)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        # every second time all is done anew, so that later steps are reached as well
        installation.go_on(content, promise=promise)
        installation.check(content)
        forget(installation)
        installation.close()
    sys.stdout.write(str(step))
    return 0


def forget(installation: Installation) -> None:
    """Back to the start, past the code under test."""
    from modelry.services.catalog.versions import Versions

    installation.aliases.remove(ME, "pets", "champion")
    Versions(installation.database.catalog).delete_model(ME, "pets")
    far = datetime(2100, 1, 1, tzinfo=UTC)
    installation.database.catalog.write(TENANT, lambda rows: rows.blobs.delete_unused(far))
    for digest in list(installation.blobs.digests(TENANT)):
        installation.blobs.delete_older(TENANT, digest, far)
    try:
        installation.open_uploads()
    except NotFound:
        sys.exit("an upload is left")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), promise=sys.argv[2] == "promised"))
