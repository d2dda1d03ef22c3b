"""How Modelry tells our files from others, in the server's process, before any is loaded."""

from __future__ import annotations

from modelry.manifest.inspect import ByteWindow, FileFacts, FileFormat
from modelry_echo.model_file import BEGINNING, MAX_BYTES, NotEcho, read_model


def _recognises(head: bytes) -> bool:
    return head.startswith(BEGINNING)


def _read(window: ByteWindow) -> FileFacts:
    if window.size > MAX_BYTES:
        raise window.refused(f"it has {window.size} bytes; echo models have at most {MAX_BYTES}.")
    try:
        model = read_model(window.read(0, window.size))
    except NotEcho as error:
        raise window.refused(f"it is no echo model: {error}.") from None
    return FileFacts("echo", window.size, signature=model.signature)


ECHO = FileFormat(recognises=_recognises, read=_read)
"""The entry point `echo` of the group `modelry.formats`."""
