"""Which files of a dataset's repository on a hub are imported. Imports no pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from modelry.datasets.importers.split_names import split_of
from modelry.domain.errors import InvalidInput

_SUFFIXES = {
    "parquet": (".parquet",),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
}
MAX_FILES = 1000


def data_files(paths: Sequence[str], below: str, format_: str | None) -> list[str]:
    """The files with rows: of one format, of one configuration.

    Args:
        paths: all files of the repository.
        below: a folder or a file that limits them; "" for the whole repository.
        format_: one of parquet, jsonl, csv; None takes the first of these that there is.

    Raises:
        InvalidInput: there are none, or those of several configurations.
    """
    known = [one for one in paths if not below or one == below or one.startswith(f"{below}/")]
    for kind, suffixes in _SUFFIXES.items():
        found = [one for one in known if one.lower().removesuffix(".gz").endswith(suffixes)]
        if found and format_ in (None, kind):
            return _of_one_configuration(found, below)
    wanted = format_ or "Parquet, JSON lines or CSV"
    shown = ", ".join(known[:10]) or "none"
    raise InvalidInput(
        f"There is no file of {wanted} {f'below {below!r} ' if below else ''}in the repository; "
        f"its files are {shown}.",
        param="source",
    )


def _of_one_configuration(found: list[str], below: str) -> list[str]:
    """Files whose folders name no more than their split and one configuration."""
    folders = sorted({_configuration(one, below) for one in found})
    if len(folders) > 1:
        shown = ", ".join(f"'{one}'" for one in folders[:20])
        raise InvalidInput(
            f"The repository has several configurations, in the folders {shown}; name one at the "
            "end of the source.",
            param="source",
        )
    if len(found) > MAX_FILES:
        raise InvalidInput(
            f"There are {len(found)} files; at most {MAX_FILES} are imported at once. Name a "
            "folder at the end of the source.",
            param="source",
        )
    return found


def _configuration(path: str, below: str) -> str:
    folders = PurePosixPath(path).parent.parts[len(PurePosixPath(below).parts) :]
    return "/".join(one for one in folders if one != "data" and split_of(one) is None)
