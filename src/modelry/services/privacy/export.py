"""All that belongs to a tenant, as one tar file that is made while it is sent."""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.audit import SignedHead
from modelry.domain.errors import ModelryError
from modelry.services.audit.service import AuditService
from modelry.services.catalog.ports import BlobStore
from modelry.services.privacy.ports import RequestLogStore, TakeRow, TenantSnapshots
from modelry.services.privacy.request_logs import RequestLogs
from modelry.services.usage.segment_reader import SegmentReader

FORMAT = "modelry-tenant-export/1"
MANIFEST = "MANIFEST.json"
CHUNK_BYTES = 2**20
LOG_PART_BYTES = 4 * 2**20
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)

SECRET_COLUMNS: Mapping[tuple[str, str], str] = {
    ("api_keys", "secret_hmac"): "checks a key",
    ("api_keys", "previous_hmac"): "checks a key",
    ("data_keys", "wrapped"): "an encryption key",
    ("sessions", "token_hmac"): "checks a session",
    ("request_logs", "sealed"): "told in clear under request-logs/",
}
"""Columns that an export leaves out, and why; it says so itself."""
_HEX_TABLES = frozenset({"audit_entries", "audit_heads"})


@dataclass(slots=True)
class _Contents:
    """What is in the file so far."""

    files: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Spool:
    """The rows of all tables, on disk for as long as the export takes; no name leads to it."""

    file: IO[bytes]
    tables: list[tuple[str, int, int]] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def begin(self) -> TakeRow:
        """Forget what was read, if it is read once more; gives what takes the rows."""
        self.file.seek(0)
        self.file.truncate()
        self.tables.clear()
        self.blobs.clear()
        self.logs.clear()
        return self._take

    def _take(self, table: str, row: Mapping[str, Any]) -> None:
        """Write a row; those of one table come together."""
        if not self.tables or self.tables[-1][0] != table:
            self.tables.append((table, self.file.tell(), 0))
        if table == "blobs":
            self.blobs.append(row["digest"])
        elif table == "request_logs":
            self.logs.append(row["log_id"])
        self.file.write(orjson.dumps(_shown(table, row)) + b"\n")
        name, start, _ = self.tables[-1]
        self.tables[-1] = (name, start, self.file.tell())


class TenantExport:
    """Writes exports.

    Rows are read in one transaction, so that they fit each other; files and kept requests are
    read one after the other afterwards. Those that are deleted meanwhile are named as missing.

    Args:
        snapshots: give the rows.
        blobs: has the files.
        logs: opens kept requests.
        log_store: has them.
        audit: signs where the audit chain ends.
        scratch: a folder for the rows while they are sent.
        clock: gives the time.
    """

    def __init__(
        self,
        *,
        snapshots: TenantSnapshots,
        blobs: BlobStore,
        logs: RequestLogs,
        log_store: RequestLogStore,
        audit: AuditService,
        scratch: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._snapshots = snapshots
        self._blobs = blobs
        self._logs = logs
        self._log_store = log_store
        self._audit = audit
        self._scratch = scratch
        self._clock = clock

    def stream(self, principal: Principal) -> Iterator[bytes]:
        """The tar file, in pieces; the rows are read before this returns.

        Raises:
            ModelryError: the rows cannot be read.
        """
        principal.require(Permission.TENANT_EXPORT)
        tenant_id = principal.tenant_id
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        spool = _Spool(tempfile.TemporaryFile(dir=self._scratch))  # noqa: SIM115 - closed by _parts
        try:
            self._snapshots.rows(tenant_id, spool.begin)
            spool.file.flush()
            head = self._audit.head_of(tenant_id)
        except BaseException:
            spool.file.close()
            raise
        return self._parts(tenant_id, spool, head)

    def _parts(self, tenant_id: str, spool: _Spool, head: SignedHead) -> Iterator[bytes]:
        contents = _Contents()
        with spool.file:
            for table, start, end in spool.tables:
                chunks = _range(spool.file, start, end)
                yield from _member(contents, f"tables/{table}.jsonl", end - start, chunks)
            yield from _small(contents, "audit/head.json", _head(head, self._audit.public_key))
            yield from self._log_parts(contents, tenant_id, spool.logs)
            for digest in spool.blobs:
                yield from self._blob(contents, tenant_id, digest)
            manifest = {
                "format": FORMAT,
                "tenant_id": tenant_id,
                "made_at": self._clock().isoformat(),
                "files": contents.files,
                "missing": contents.missing,
                "left_out": {
                    f"{table}.{column}": why for (table, column), why in SECRET_COLUMNS.items()
                },
            }
            yield from _small(_Contents(), MANIFEST, orjson.dumps(manifest))
            yield _END

    def _log_parts(
        self, contents: _Contents, tenant_id: str, log_ids: Sequence[str]
    ) -> Iterator[bytes]:
        part, number = b"", 1
        for log_id in log_ids:
            found = self._log_store.get(tenant_id, log_id)
            try:
                content = None if found is None else self._logs.content(found)
            except ModelryError as error:
                contents.missing.append({"name": f"request-logs/{log_id}", "reason": error.code})
                continue
            if content is None:
                contents.missing.append({"name": f"request-logs/{log_id}", "reason": "not_found"})
                continue
            part += orjson.dumps({"log_id": log_id, "content": content}) + b"\n"
            if len(part) >= LOG_PART_BYTES:
                yield from _small(contents, f"request-logs/{number:06d}.jsonl", part)
                part, number = b"", number + 1
        if part:
            yield from _small(contents, f"request-logs/{number:06d}.jsonl", part)

    def _blob(self, contents: _Contents, tenant_id: str, digest: str) -> Iterator[bytes]:
        name = f"files/{digest.replace(':', '-')}"
        try:
            blob = self._blobs.open_sealed(tenant_id, digest)
        except ModelryError as error:
            contents.missing.append({"name": name, "reason": error.code})
            return
        try:
            with blob.path.open("rb") as file:
                chunks = _range(file, 0, blob.size_bytes)
                yield from _member(contents, name, blob.size_bytes, chunks)
        finally:
            blob.close()


def _shown(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON types, without its secrets."""
    shown: dict[str, Any] = {}
    for column, value in row.items():
        if (table, column) in SECRET_COLUMNS:
            continue
        if (table, column) == ("usage_segments", "data"):
            reader = SegmentReader(row["tenant_id"], value)
            shown["requests"] = [asdict(one) for one in reader.records()]
        elif isinstance(value, bytes):
            is_hex = table in _HEX_TABLES
            shown[column] = value.hex() if is_hex else base64.b64encode(value).decode()
        else:
            shown[column] = value
    return shown


def _head(head: SignedHead, public_key: bytes) -> bytes:
    return orjson.dumps(
        {
            "tenant_id": head.tenant_id,
            "sequence": head.sequence,
            "mac": head.mac.hex(),
            "at": head.at.isoformat(),
            "signature": head.signature.hex(),
            "public_key": public_key.hex(),
        }
    )


def _range(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    at = start
    while at < end:
        chunk = os.pread(file.fileno(), min(CHUNK_BYTES, end - at), at)
        if not chunk:
            raise OSError("a file is shorter than it was")
        at += len(chunk)
        yield chunk


def _small(contents: _Contents, name: str, data: bytes) -> Iterator[bytes]:
    return _member(contents, name, len(data), [data])


def _member(
    contents: _Contents, name: str, size_bytes: int, chunks: Iterable[bytes]
) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o600
    yield info.tobuf(tarfile.PAX_FORMAT)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    yield bytes(-size_bytes % _BLOCK)
    contents.files.append({"name": name, "size_bytes": size_bytes, "sha256": digest.hexdigest()})
