"""Key-encryption keys in a file that its owner alone can read."""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import stat
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from modelry.adapters.crypto.local import kek_id_of, unwrap_under, wrap_under
from modelry.domain.errors import KeyUnavailable
from modelry.services.encryption.aead import KEY_BYTES
from modelry.services.encryption.ports import KeyContext, WrappedKey

MAX_FILE_BYTES = 64 * 1024


class KeyFile:
    """Implements `KeyProvider` with a file of one or more generations of keys, the newest last.

    The file is made, with one key, when the first data key is wrapped; never in place of one that
    data keys need.

    Args:
        path: the file, in a folder that its owner alone can enter.
    """

    kind = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyProvider.wrap`."""
        with self._alone():
            keys = self._read() or self._write([os.urandom(KEY_BYTES)])
        kek = keys[-1]
        return wrap_under(kek, kek_id_of(self.kind, kek), key, context)

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyProvider.unwrap`."""
        keys = self._read()
        return unwrap_under(
            {kek_id_of(self.kind, key): key for key in keys},
            wrapped,
            context,
            f"Restore the file 'secrets/{self._path.name}' of the data folder from the backup "
            "that belongs to this database; or, if it is not such a key, set "
            "MODELRY_ENCRYPTION_PROVIDER to what has it (MODELRY_ENCRYPTION_OLD_PROVIDER, to move "
            "away from it).",
        )

    def renew(self) -> None:
        """Add a new key, after which data keys are wrapped."""
        with self._alone():
            self._write([*self._read(), os.urandom(KEY_BYTES)])

    def retire(self, kept: Collection[str]) -> None:
        """Drop the older keys that no data key needs; the newest stays, and the one before it,
        with which another server may have wrapped a data key that it has yet to keep.
        """
        with self._alone():
            keys = self._read()
            left = [key for key in keys[:-2] if kek_id_of(self.kind, key) in kept] + keys[-2:]
            if left != keys:
                self._write(left)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Across threads and servers, so that no two make the first key."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._path.with_name(f".{self._path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> list[bytes]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyUnavailable(
                f"The key file '{self._path.name}' cannot be read ({error.strerror})."
            ) from None
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            content = os.read(descriptor, MAX_FILE_BYTES)
        finally:
            os.close(descriptor)
        if mode & 0o077:
            raise KeyUnavailable(
                f"The key file '{self._path.name}' in the data folder may be read by others (mode "
                f"{mode:04o}). Give it the mode 0600, and run `modelry encryption rotate` if "
                "somebody else could have read it."
            )
        return self._parsed(content)

    def _parsed(self, content: bytes) -> list[bytes]:
        try:
            keys = [base64.b64decode(text, validate=True) for text in orjson.loads(content)["keys"]]
        except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError):
            keys = []
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyUnavailable(
                f"The key file '{self._path.name}' in the data folder is damaged. Restore it from "
                "a backup: without it nothing that was encrypted can be read."
            )
        return keys

    def _write(self, keys: list[bytes]) -> list[bytes]:
        """Replace the file durably: the old or the new content is there, whatever happens."""
        document = orjson.dumps({"keys": [base64.b64encode(key).decode() for key in keys]})
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, document)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return keys
