"""Conversations: JSON lines in OpenAI's form for fine-tuning, or pairs of prompt and completion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from modelry.datasets.conversations import COLUMN, NotAConversation, read_row, to_text
from modelry.datasets.importers.batches import RowBatches
from modelry.datasets.importers.contract import ImportRequest, Source
from modelry.datasets.importers.json_lines import json_lines
from modelry.datasets.importers.split_names import assign
from modelry.domain.datasets import Column, ColumnType, Schema


def open_files(request: ImportRequest) -> Source:
    """One conversation a line; all of them become one column of canonical JSON, `messages`.

    Raises:
        InvalidInput: the files' splits cannot be told.
    """
    return Conversations(request)


class Conversations:
    """Implements `Source`."""

    def __init__(self, request: ImportRequest) -> None:
        self.problems = request.problems
        self.schema = Schema((Column(COLUMN, ColumnType.TEXT),))
        self._request = request
        self._files = assign(list(request.files), request.options.splits)

    @property
    def splits(self) -> Sequence[str]:
        """See `Source.splits`."""
        return tuple(self._files)

    def rows(self, split: str) -> Iterator[pa.RecordBatch]:
        """See `Source.rows`."""
        self.problems.begin(split)
        batches = RowBatches(self.schema, self.problems)
        for name in self._files[split]:
            for line in json_lines(self._request, name, "reading"):
                try:
                    if line.reason:
                        raise NotAConversation(line.reason)
                    text = to_text(read_row(line.row))
                except NotAConversation as error:
                    self.problems.bad(name, f"line {line.place}", str(error))
                    continue
                yield from batches.add((text,), len(text))
        yield from batches.rest()
        self.problems.settle()
