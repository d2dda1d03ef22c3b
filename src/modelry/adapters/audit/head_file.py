"""Signed heads as lines of JSON in one file."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from modelry.domain.audit import SignedHead
from modelry.domain.errors import AuditUnavailable


class HeadFile:
    """Implements `HeadKeeper`.

    Args:
        path: the file; made, for its owner alone, with the first head.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def keep(self, heads: Iterable[SignedHead]) -> None:
        """See `HeadKeeper.keep`."""
        lines = b"".join(json.dumps(head_to_json(head)).encode() + b"\n" for head in heads)
        if not lines:
            return
        try:
            with self._lock:
                self._append(lines)
        except OSError as error:
            raise AuditUnavailable(
                f"The heads of the audit log cannot be kept ({error.strerror}); check the data "
                "folder."
            ) from error

    def kept(self, tenant_id: str) -> Iterator[SignedHead]:
        """See `HeadKeeper.kept`. A line that is no head is passed over: a crash may cut one."""
        return (head for head in self._all() if head.tenant_id == tenant_id)

    def furthest(self) -> dict[str, SignedHead]:
        """See `HeadKeeper.furthest`."""
        found: dict[str, SignedHead] = {}
        for head in self._all():
            other = found.get(head.tenant_id)
            if other is None or head.sequence >= other.sequence:
                found[head.tenant_id] = head
        return found

    def _all(self) -> Iterator[SignedHead]:
        try:
            lines = self._path.open("rb")
        except FileNotFoundError:
            return
        with lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    yield head_from_json(json.loads(line))

    def _append(self, lines: bytes) -> None:
        is_new = not self._path.exists()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a line that a crash cut ends here
            os.write(descriptor, lines)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def head_to_json(head: SignedHead) -> dict[str, str | int]:
    """`head` as JSON types; bytes as hex digits."""
    return {
        "tenant_id": head.tenant_id,
        "sequence": head.sequence,
        "mac": head.mac.hex(),
        "at": head.at.isoformat(),
        "signature": head.signature.hex(),
    }


def head_from_json(value: dict[str, str | int]) -> SignedHead:
    """The inverse of `head_to_json`.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    at = datetime.fromisoformat(str(value["at"]))
    if at.tzinfo is None:
        raise ValueError("a time without timezone")
    return SignedHead(
        tenant_id=str(value["tenant_id"]),
        sequence=int(value["sequence"]),
        mac=bytes.fromhex(str(value["mac"])),
        at=at,
        signature=bytes.fromhex(str(value["signature"])),
    )
