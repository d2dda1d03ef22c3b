"""Formats that other packages add, by the entry point group `modelry.formats`.

An entry point is called as its format and leads to a `FileFormat`. It is asked in the server's
own process and must not import an engine. Files that Modelry refuses whatever they are for
(programs, pickles, archives) never reach it, nor do those of the formats that have magic bytes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from modelry.domain.errors import ModelryError
from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.window import ByteWindow

GROUP = "modelry.formats"
HEAD_BYTES = 256

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How to tell and to read a format of files.

    Args:
        recognises: whether a file that begins with these bytes (at most 256) is of the format.
        read: its facts, with `format` as the entry point is called; raises `window.refused(…)`
            when it is damaged.
    """

    recognises: Callable[[bytes], bool]
    read: Callable[[ByteWindow], FileFacts]


def read_installed(window: ByteWindow) -> FileFacts | None:
    """The facts of a file of an added format; None if it is of none.

    Raises:
        FileRefused: its format's reader refused it, or broke on it.
    """
    for name in sorted(_declared()):
        added = _load(name)
        if added is None:
            continue
        try:
            if not added.recognises(window.read(0, min(HEAD_BYTES, window.size))):
                continue
            facts = added.read(window)
        except ModelryError:
            raise
        except Exception as error:
            log.exception("the reader of the format %s broke", name)
            raise window.refused(
                f"the reader of the format '{name}' broke on it ({type(error).__name__}). Tell "
                "the maker of the package that adds the format."
            ) from None
        if facts.format != name:
            raise window.refused(
                f"the reader of the format '{name}' calls it '{facts.format}'. Tell the maker of "
                "the package that adds the format."
            )
        return facts
    return None


@cache
def _declared() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _load(name: str) -> FileFormat | None:
    """The format called `name`; a package that does not keep to the rules is left out."""
    try:
        found = _declared()[name].load()
    except ImportError:
        log.exception("the format %s cannot be imported", name)
        return None
    if not isinstance(found, FileFormat) or not _NAME.fullmatch(name):
        log.error("the entry point %s of %s is no FileFormat", name, GROUP)
        return None
    return found
