"""What a GGUF file says of itself, read without its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from modelry.domain.errors import FileRefused, ModelFailed
from modelry.manifest.inspect import gguf
from modelry.manifest.inspect.window import ByteWindow


def gguf_metadata(path: Path, name: str) -> Mapping[str, str]:
    """The metadata of the GGUF file at `path` (which may be a link, such as to a memory file).

    Raises:
        ModelFailed: it cannot be read, or is no sound GGUF file; `name` is what messages call it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelFailed(
            f"File '{name}' cannot be read on the server ({os.strerror(error.errno or 0)})."
        ) from None
    try:
        window = ByteWindow(descriptor, os.fstat(descriptor).st_size, name)
        if window.size < 4 or window.read(0, 4) != gguf.MAGIC:
            raise ModelFailed(f"File '{name}' is no GGUF file (it does not begin with 'GGUF').")
        return gguf.read_gguf(window).metadata
    except FileRefused as error:
        raise ModelFailed(error.message) from None
    finally:
        os.close(descriptor)
