"""Which split a file belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from modelry.domain.errors import InvalidInput

_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "t10k": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}
_USUAL = ("train", "validation", "test")


def split_of(name: str) -> str | None:
    """The split that words in a file's name or folders say, None when none does.

    The last word counts: `test/train-1.csv` is of the training split.
    """
    found = None
    for word in re.split(r"[^a-z0-9]+", name.lower()):
        plain = word if word in _WORDS else re.sub(r"\d+$", "", word)
        found = _WORDS.get(plain, found)
    return found


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """The usual splits first, then the others by name."""
    unique = set(splits)
    return (*(one for one in _USUAL if one in unique), *sorted(unique - set(_USUAL)))


def assign(names: Sequence[str], given: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The files of each split, in order; all in `""` when nothing tells splits.

    Args:
        names: all files.
        given: the files of each split as the request says; empty to go by names.

    Raises:
        InvalidInput: a file belongs to no split, or to two, or is not there.
    """
    if given:
        return _as_given(names, given)
    by_split: dict[str, list[str]] = {}
    for name in sorted(names, key=_natural):
        by_split.setdefault(split_of(name) or "", []).append(name)
    if "" in by_split and len(by_split) > 1:
        raise InvalidInput(
            f"The names of some files say which split they are of (such as "
            f"'{next(n for s, ns in by_split.items() if s for n in ns)}'), that of "
            f"'{by_split[''][0]}' does not. Name it so, or give splits={{split: [files]}}.",
            param="splits",
        )
    return {split: tuple(by_split[split]) for split in in_order(by_split)}


def _as_given(
    names: Sequence[str], given: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    seen: set[str] = set()
    for split, files in given.items():
        if not files:
            raise InvalidInput(f"Split '{split}' names no file.", param="splits")
        for file in files:
            if file not in names:
                raise InvalidInput(
                    f"Split '{split}' names the file '{file}', which is not there; there are "
                    f"{', '.join(sorted(names)[:20])}.",
                    param="splits",
                )
            if file in seen:
                raise InvalidInput(f"The file '{file}' is named for two splits.", param="splits")
            seen.add(file)
    left = sorted(set(names) - seen)
    if left:
        raise InvalidInput(
            f"The file '{left[0]}' is named for no split; name it for one or leave it out.",
            param="splits",
        )
    return {split: tuple(given[split]) for split in in_order(given)}


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() and part.isascii() and len(part) < 20 else (-1, part)
        for part in re.split(r"(\d+)", name)
    ]
