"""Paragraphs of LibreOffice's help in two languages: more rows for its interface's translator.

The pages of both languages have the same names, their paragraphs the same ids. Fetched once (with
`apt-get download`) and kept; under the MPL, so nothing that is learnt from them is shipped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.parallel_texts import key_of, package_folder

_PARAGRAPH = re.compile(r'<(h[1-6]|p)\b[^>]*\bid="((?:par|hd)_[^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_SPACE = re.compile(r"\s+")
RUN = 6
"""So many words in a row that a held-out text has, too, are too many."""
WHOLE = 3
"""A held-out text of so many words must not be part of a paragraph."""


def help_texts(language: str, held_out: Iterable[str]) -> list[tuple[str, str]]:
    """English paragraphs and their translations, each English one once.

    Left out are those that are the same in both languages, those without a letter, and those that
    know a held-out text: that are the same but for case and punctuation, that hold all of it (of 3
    words and more), or 6 words in a row of it.

    Args:
        language: of the translations.
        held_out: English texts that are asked for later.

    Raises:
        FetchError: a package is not here yet and cannot be fetched.
    """
    runs = {key_of(text) for text in held_out}
    runs |= {run for key in list(runs) for run in _runs(key, RUN)}
    lengths = {len(run.split()) for run in runs if WHOLE <= len(run.split()) <= RUN}
    found: dict[str, str] = {}
    for source, target in _paragraphs(language):
        key = key_of(source)
        if source == target or source in found or not any(map(str.isalpha, source)):
            continue
        if key in runs or any(run in runs for size in lengths for run in _runs(key, size)):
            continue
        found[source] = target
    return list(found.items())


def _runs(key: str, size: int) -> Iterator[str]:
    """All `size` words in a row."""
    words = key.split()
    return (" ".join(words[at : at + size]) for at in range(len(words) - size + 1))


def _paragraphs(language: str) -> Iterator[tuple[str, str]]:
    ours = package_folder("libreoffice-help-en-us", "text")
    theirs = package_folder(f"libreoffice-help-{language}", "text")
    for page in sorted(ours.rglob("*.html")):
        translated = theirs / page.relative_to(ours)
        if translated.exists():
            source, target = _texts(page), _texts(translated)
            yield from (
                (text, target[name]) for name, text in source.items() if target.get(name) and text
            )


def _texts(page: Path) -> dict[str, str]:
    """A page's paragraphs by their ids."""
    return {
        name: _SPACE.sub(" ", html.unescape(_TAG.sub("", text))).strip()
        for _, name, text in _PARAGRAPH.findall(page.read_text("utf-8"))
    }
