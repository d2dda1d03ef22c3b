"""The folder that holds everything an installation keeps, used by one server at a time."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from pathlib import Path

from modelry.domain.errors import Conflict

_SERVER_ID = re.compile(r"server-[0-9a-f]{16}")


class DataFolder:
    """Where things lie below the data folder; opened by one process at a time.

    Args:
        root: the folder; made, for its owner alone, if it is not there.
        secrets: where secrets lie, if not below it: several servers on one database share them.
        blobs: where contents lie, if not below it; for the same reason.
    """

    def __init__(
        self, root: Path, *, secrets: Path | None = None, blobs: Path | None = None
    ) -> None:
        self.root = root.expanduser().absolute()
        self._secrets = secrets.expanduser().absolute() if secrets else self.root / "secrets"
        self._blobs = blobs.expanduser().absolute() if blobs else self.root / "blobs"
        self._lock: int | None = None

    @property
    def database_url(self) -> str:
        """The embedded database."""
        return f"sqlite:///{self.root / 'modelry.db'}"

    @property
    def blobs(self) -> Path:
        """Contents by digest."""
        return self._blobs

    @property
    def private(self) -> tuple[Path, ...]:
        """Everything that is nobody's business but the server's."""
        return (self.root, self._secrets, self._blobs)

    @property
    def pepper(self) -> Path:
        """The secret under which API keys are hashed."""
        return self._secrets / "pepper"

    @property
    def key_file(self) -> Path:
        """The key-encryption keys, unless they are kept elsewhere."""
        return self._secrets / "key-encryption-keys"

    @property
    def audit_secret(self) -> Path:
        """The secret under which audit entries are chained and their heads signed."""
        return self._secrets / "audit"

    @property
    def audit_heads(self) -> Path:
        """Signed heads of the audit chains."""
        return self.root / "audit" / "heads.jsonl"

    @property
    def usage_spool(self) -> Path:
        """What was used and is not in the database yet."""
        return self.root / "usage-spool"

    @property
    def exports(self) -> Path:
        """Rows of exports that are being sent; files there have no names."""
        return self.root / "exports"

    @property
    def tls(self) -> Path:
        """The server's own certificate authority."""
        return self._secrets / "tls"

    @property
    def plain_scratch(self) -> Path:
        """Where older versions put what they fetched, in the clear."""
        return self.root / "scratch"

    def open(self) -> None:
        """Take the folder for this process, until `close` or its end.

        Raises:
            Conflict: another server uses it, or it cannot be made or written.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self.root / "modelry.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise Conflict(
                f"The data folder cannot be used ({error.strerror}); name another one with --data "
                "or MODELRY_DATA.",
                param="data",
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Conflict(
                f"Another Modelry (process {owner or 'unknown'}) uses this data folder; stop it, "
                "or name another folder with --data or MODELRY_DATA.",
                param="data",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def close(self) -> None:
        """Let others use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def server_id(self) -> str:
        """Which server this is among those on its database; the same after a restart.

        Raises:
            Conflict: it cannot be kept.
        """
        place = self.root / "server-id"
        try:
            known = place.read_text("ascii", "replace").strip() if place.exists() else ""
            if _SERVER_ID.fullmatch(known):
                return known
            made = f"server-{secrets.token_hex(8)}"
            incoming = place.with_suffix(".new")
            incoming.write_text(made + "\n")
            incoming.replace(place)
        except OSError as error:
            raise Conflict(
                f"The data folder cannot be written ({error.strerror}).", param="data"
            ) from None
        return made
