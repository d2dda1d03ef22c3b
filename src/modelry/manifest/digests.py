"""SHA-256 digests of files and of JSON documents, written `sha256:<64 hex digits>`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelry.domain.errors import InvalidInput

CHUNK_BYTES = 1024 * 1024
DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")


def check_digest(digest: str, what: str = "digest") -> str:
    """Return `digest` unchanged when it is written `sha256:<64 lower-case hex digits>`.

    Raises:
        InvalidInput: it is not.
    """
    if not DIGEST_PATTERN.fullmatch(digest):
        raise InvalidInput(
            f"{what.capitalize()} {digest[:100]!r} is not a digest: expected 'sha256:' and "
            "64 lower-case hex digits, as `sha256sum` prints them.",
            param=what,
        )
    return digest


def digest_of_bytes(data: bytes) -> str:
    """The digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The digest of a file's content, read in chunks of 1 MiB.

    Args:
        path: the file.
        on_bytes: told the number of bytes read so far, after each chunk.
    """
    state = hashlib.sha256()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    done = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(view[:count])
            done += count
            if on_bytes is not None:
                on_bytes(done)
    return "sha256:" + state.hexdigest()


def canonical_json(document: Any) -> bytes:
    """`document` as JSON that is the same for equal documents: keys sorted, no white space.

    Raises:
        InvalidInput: not made of JSON types, or NaN and infinity are in it.
    """
    try:
        text = json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The document cannot be written as canonical JSON: {error}. Use strings, finite "
            "numbers, booleans, null, lists and string-keyed mappings only."
        ) from None


def digest_of_json(document: Any) -> str:
    """The digest of a JSON document, independent of key order and layout.

    Raises:
        InvalidInput: not made of JSON types, or NaN and infinity are in it.
    """
    return digest_of_bytes(canonical_json(document))
