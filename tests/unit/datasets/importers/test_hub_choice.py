"""Which files of a dataset's repository are imported."""

from __future__ import annotations

import pytest

from modelry.datasets.importers.hub_choice import data_files
from modelry.domain.errors import InvalidInput

PLAIN = ["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]
CONFIGURED = ["README.md", "de/train/0.parquet", "de/test/0.parquet", "en/train/0.parquet"]
MIXED = ["train.csv", "train.jsonl.gz", "a.txt"]


@pytest.mark.parametrize(
    ("paths", "below", "format_", "expected"),
    [
        (PLAIN, "", None, PLAIN[1:]),
        (PLAIN, "data", None, PLAIN[1:]),
        (PLAIN, PLAIN[2], None, PLAIN[2:]),
        (CONFIGURED, "de", None, CONFIGURED[1:3]),
        (MIXED, "", None, ["train.jsonl.gz"]),
        (MIXED, "", "csv", ["train.csv"]),
    ],
)
def test_files_of_one_format(
    paths: list[str], below: str, format_: str | None, expected: list[str]
) -> None:
    assert data_files(paths, below, format_) == expected


@pytest.mark.parametrize(
    ("paths", "below", "format_", "words"),
    [
        (["README.md"], "", None, "no file of Parquet, JSON lines or CSV"),
        (PLAIN, "", "csv", "no file of csv"),
        (PLAIN, "dat", None, "below 'dat'"),
        (CONFIGURED, "", None, "in the folders 'de', 'en'"),
        ([f"{i}.csv" for i in range(1001)], "", None, "at most 1000"),
    ],
)
def test_what_cannot_be_chosen(
    paths: list[str], below: str, format_: str | None, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        data_files(paths, below, format_)
