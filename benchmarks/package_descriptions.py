"""What Debian's packages say of themselves: a long description, and a line that sums it up.

The lists are fetched once (with `apt-get update` into a folder of their own) and kept; nothing is
installed. Descriptions are under their packages' licences: nothing learnt from them is shipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.parallel_texts import split_of
from benchmarks.weights import FETCH_TIMEOUT_S, FetchError, cache_folder

SHORTEST, LONGEST = 120, 350
"""Characters of a long description that is used: there must be something to sum up, and it is not
cut."""
_SPACE = re.compile(r"\s+")
_SENTENCE = re.compile(r"(?<=[a-z)\"'][.!?:])\s+(?=[A-Z\"(*-])")


def summaries() -> dict[str, list[tuple[str, str]]]:
    """Long descriptions and their lines, by split: train, validation, test.

    Of the packages that are made of one source there is only one, that with the longest
    description, and of those that share a paragraph only one, too, so that no split has what
    another one says. Which split it is in follows from the source's name.

    Raises:
        FetchError: the lists are not here yet and cannot be fetched.
    """
    sources = dict(_sources())
    by_source: dict[str, tuple[str, str]] = {}
    for package, line, text in _descriptions():
        source = sources.get(package)
        if source is None or not SHORTEST <= len(text) <= LONGEST:
            continue
        if len(text) > len(by_source.get(source, ("", ""))[0]):
            by_source[source] = (text, line)
    found: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for source, (text, line) in sorted(by_source.items()):
        paragraphs = {one.lower() for one in text.split("\n")}
        if paragraphs & seen:
            continue
        seen |= paragraphs
        found[split_of(source)].append((_SPACE.sub(" ", text), line))
    return found


def first_sentence(text: str) -> str:
    """Of a long description."""
    return _SENTENCE.split(text, maxsplit=1)[0]


def _sources() -> Iterator[tuple[str, str]]:
    """Packages and the source that each is made of."""
    for entry in _entries("Packages"):
        source = entry.get("Source", entry["Package"])
        yield entry["Package"], source.split()[0]


def _descriptions() -> Iterator[tuple[str, str, str]]:
    """Packages, their line and their long description, a paragraph a line."""
    for entry in _entries("Translation-en"):
        line, _, rest = entry.get("Description-en", "").partition("\n")
        paragraphs = [
            _SPACE.sub(" ", one).strip() for one in re.split(r"^ \.$", rest, flags=re.MULTILINE)
        ]
        text = "\n".join(one for one in paragraphs if one)
        if line and text:
            yield entry["Package"], line, text


def _entries(kind: str) -> Iterator[dict[str, str]]:
    """The fields of each entry of a list."""
    for file in sorted(_folder().glob(f"*_{kind}*")):
        read = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", file], check=True, capture_output=True
        )
        for entry in read.stdout.decode("utf-8", "replace").split("\n\n"):
            fields = re.findall(r"^([\w-]+): ?(.*(?:\n .*)*)", entry, re.MULTILINE)
            if fields:
                yield dict(fields)


def _folder() -> Path:
    """Where the lists are kept."""
    kept = cache_folder().parent / "texts" / "debian-packages"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as name:
            folder = Path(name)
            _fetch(folder)
            for partial in ("partial", "auxfiles"):
                shutil.rmtree(folder / partial, ignore_errors=True)
            if not kept.exists():
                shutil.copytree(folder, kept)
    return kept


def _fetch(folder: Path) -> None:
    (folder / "partial").mkdir()
    options = [f"Dir::State::lists={folder}", "Acquire::Languages=en", "APT::Sandbox::User=root"]
    command = ["apt-get", "update", *(part for one in options for part in ("-o", one))]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        told = said.decode(errors="replace")[-300:]
        raise FetchError(f"Debian's lists of packages cannot be fetched: {told}") from None
