"""What an importer is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelry.datasets.importers.problems import Problems
from modelry.domain.datasets import Schema

if TYPE_CHECKING:
    import pyarrow as pa

Watch = Callable[[str, int, int | None], None]
"""Told (phase, done, total) now and then, in bytes or entries; may raise to end the import."""


def unwatched(phase: str, done: int, total: int | None) -> None:
    """A `Watch` that does nothing."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import.

    Attributes:
        files: where each file can be read, by the name that it was given with.
        options: an instance of the format's options.
        problems: where rows that cannot be used are told.
        watch: told how far reading is.
    """

    files: Mapping[str, Path]
    options: Any
    problems: Problems
    watch: Watch = unwatched


class Source(Protocol):
    """Rows of foreign files, in the forms of `datasets.forms`. Used in one thread."""

    @property
    def schema(self) -> Schema:
        """The columns, the same for every split."""
        ...

    @property
    def splits(self) -> Sequence[str]:
        """The splits that the files give, `("",)` for none."""
        ...

    @property
    def problems(self) -> Problems:
        """What was left out and noticed; complete once the rows of all splits were read."""
        ...

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """All rows of a split, a batch in memory; may be asked for again.

        Raises:
            RowsInvalid: rows cannot be used, and the request is to refuse such.
            InvalidInput: a file cannot be read at all.
        """
        ...
