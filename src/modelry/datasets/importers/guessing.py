"""Which format files are, by their names and first bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import orjson

from modelry.datasets.conversations import COLUMN
from modelry.datasets.importers.archives import open_archive
from modelry.datasets.importers.streams import open_stream
from modelry.domain.errors import InvalidInput

MAX_FIRST_LINE_BYTES = 8 * 2**20
_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".npz": "npz",
    ".tmx": "parallel-text",
}


def guess_format(files: Mapping[str, Path]) -> str:
    """The one format that all files are of.

    Raises:
        InvalidInput: they do not tell; the format must be given.
    """
    found = {name: _of_file(name, path) for name, path in files.items()}
    kinds = set(found.values())
    if kinds == {"json", "zip"}:
        return "coco"
    if len(kinds) == 1 and (kind := kinds.pop()) not in (None, "json", "zip"):
        return str(kind)
    if set(found.values()) == {"zip"}:
        return _of_archive(*next(iter(files.items())))
    shown = ", ".join(sorted(files)[:5])
    raise InvalidInput(
        f"What the files are cannot be told from their names and content ({shown}); give their "
        "format.",
        param="format",
    )


def _of_file(name: str, path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(4)
    plain = name.lower().removesuffix(".gz")
    by_name = _BY_SUFFIX.get(PurePosixPath(plain).suffix)
    if by_name == "jsonl" and _holds_conversations(name, path):
        return "chat"
    if by_name:
        return by_name
    if head == b"PAR1":
        return "parquet"
    if head == b"PK\x03\x04":
        return "zip"
    if "idx" in plain and "ubyte" in plain:
        return "idx"
    if len(head) == 4 and head[:2] == b"\0\0" and 8 <= head[2] <= 14 and 1 <= head[3] <= 8:
        return "idx"
    return "json" if plain.endswith(".json") else None


def _holds_conversations(name: str, path: Path) -> bool:
    """Whether the first line is a conversation as OpenAI's fine-tuning takes them."""
    with open_stream(path, name) as file:
        line = file.readline(MAX_FIRST_LINE_BYTES)
    try:
        row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return False
    return type(row) is dict and type(row.get(COLUMN)) is list


def _of_archive(name: str, path: Path) -> str:
    with open_archive(path, name) as archive:
        names = [one.name.lower() for one in archive.entries]
    if any(one.endswith(".json") for one in names):
        return "coco"
    if any(PurePosixPath(one).name in ("data.yaml", "data.yml") for one in names):
        return "yolo"
    return "npz" if names and all(one.endswith(".npy") for one in names) else "image-folder"
