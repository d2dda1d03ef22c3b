"""Usage on the disk, where it waits while the database cannot take it."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from modelry.adapters.blobs.durable import create_folder, sync_folder, write_all
from modelry.services.usage.ports import Segment, UsageAmount

log = logging.getLogger(__name__)

_SUFFIX = ".segments"
_BINARY = ("data", "other_ids")
_DIGEST_BYTES = 32


class FileSegmentSpool:
    """Implements `SegmentSpool`: a file per flush, whole or not there, with its digest.

    Args:
        folder: where; made when it is first needed. One server at a time uses it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def put(self, segments: Sequence[Segment]) -> str:
        """See `SegmentSpool.put`."""
        create_folder(self._folder)
        raw = _encoded(segments)
        name = f"{time.time_ns():020d}-{next(self._numbers):06d}{_SUFFIX}"
        unfinished = self._folder / f"{name}.new"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, hashlib.sha256(raw).digest() + raw)
            os.fsync(descriptor)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        unfinished.rename(self._folder / name)
        sync_folder(self._folder)
        return name

    def names(self) -> list[str]:
        """See `SegmentSpool.names`; removes what an interrupted `put` left."""
        if not self._folder.is_dir():
            return []
        for unfinished in self._folder.glob("*.new"):
            unfinished.unlink(missing_ok=True)
        return sorted(path.name for path in self._folder.glob(f"*{_SUFFIX}"))

    def get(self, name: str) -> list[Segment]:
        """See `SegmentSpool.get`; a damaged file is set aside."""
        path = self._folder / name
        try:
            whole = path.read_bytes()
        except FileNotFoundError:
            log.error("usage in %s is gone: somebody else removed it", name)  # noqa: TRY400 - no defect of ours
            return []
        digest, raw = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(raw).digest() != digest:
            log.error("usage in %s is damaged and cannot be added; it is kept as .damaged", name)
            path.rename(path.with_suffix(".damaged"))
            return []
        return _decoded(raw)

    def delete(self, name: str) -> None:
        """See `SegmentSpool.delete`."""
        (self._folder / name).unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """See `SegmentSpool.size_bytes`."""
        if not self._folder.is_dir():
            return 0
        sizes = 0
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                sizes += path.stat().st_size
            except FileNotFoundError:
                continue  # added to the database meanwhile
        return sizes


def _encoded(segments: Sequence[Segment]) -> bytes:
    """A line of JSON with all plain fields, then the binary ones, in order."""
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for segment in segments:
        fields = asdict(segment)
        for name in _BINARY:
            parts.append(fields[name])
            fields[name] = len(fields[name])
        described.append(fields)
    return b"".join((orjson.dumps(described), b"\n", *parts))


def _decoded(raw: bytes) -> list[Segment]:
    line, _, rest = raw.partition(b"\n")
    segments: list[Segment] = []
    at = 0
    for fields in orjson.loads(line):
        for name in _BINARY:
            size = fields[name]
            fields[name] = rest[at : at + size]
            at += size
        for name in ("first_at", "last_at"):
            fields[name] = datetime.fromisoformat(fields[name])
        fields["amounts"] = tuple(UsageAmount(**one) for one in fields["amounts"])
        segments.append(Segment(**fields))
    return segments
