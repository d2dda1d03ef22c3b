"""Decides by content what a file is, and has it read by the reader of that format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelry.domain.errors import FileRefused
from modelry.manifest.inspect import archives, documents, gguf, onnx, refusals
from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.installed import read_installed
from modelry.manifest.inspect.window import ByteWindow, open_window

MAX_FILE_BYTES = 512 * 2**30


def inspect_file(
    path: Path,
    *,
    name: str | None = None,
    companions: Mapping[str, Path] | None = None,
    max_bytes: int = MAX_FILE_BYTES,
) -> FileFacts:
    """What the file at `path` is and declares; its extension is not looked at.

    Memory stays constant and the weights are not read, whatever the file claims.

    Args:
        path: a regular file (links are refused).
        name: what to call it in messages; the path's own name by default.
        companions: files that the manifest declares beside it, by name: where the external
            data of an ONNX model may lie.
        max_bytes: the largest size that is accepted.

    Raises:
        FileRefused: of a refused or unknown format, disguised, damaged, cut off, empty or too
            large; the message says which and what to do.
    """
    with open_window(path, name or path.name) as window:
        if window.size == 0:
            raise window.refused("it is empty. Fetch or upload it again.")
        if window.size > max_bytes:
            raise window.refused(
                f"it has {window.size} bytes; at most {max_bytes} are accepted here."
            )
        return _inspect(window, companions or {})


def inspect_weights(path: Path, *, name: str | None = None) -> FileFacts:
    """What is known of a file of raw weights that belongs to another file (a companion).

    Raises:
        FileRefused: it is empty, or a program, pickle or archive.
    """
    with open_window(path, name or path.name) as window:
        if window.size == 0:
            raise window.refused("it is empty. Fetch or upload it again.")
        refusals.refuse_known(window)
        return FileFacts(format="weights", size_bytes=window.size)


def _inspect(window: ByteWindow, companions: Mapping[str, Path]) -> FileFacts:
    head = window.read(0, min(16, window.size))
    if head.startswith(archives.MAGICS):
        return archives.read_archive(window)
    if head.startswith(gguf.MAGIC):
        return gguf.read_gguf(window)
    refusals.refuse_known(window)
    if documents.looks_like_safetensors(head, window.size):
        return documents.read_safetensors(window)
    added = read_installed(window)
    if added is not None:
        return added
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return documents.read_json(window)
    return _without_magic(window, head, companions)


def _without_magic(window: ByteWindow, head: bytes, companions: Mapping[str, Path]) -> FileFacts:
    """ONNX, plain text and the oldest pickles have no magic bytes."""
    refused: FileRefused | None = None
    if head[0] in onnx.FIRST_BYTES:
        try:
            return onnx.read_onnx(window, companions)
        except FileRefused as error:
            refused = error
    if refused is None or head[0] != onnx.USUAL_FIRST_BYTE:
        refusals.refuse_text_pickle(window)
        facts = documents.read_text(window)
        if facts is not None:
            return facts
    raise refused or refusals.unknown(window)
