"""The JSON shapes of datasets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from modelry.domain.datasets import Column as DomainColumn
from modelry.domain.datasets import DatasetVersion as DomainVersion
from modelry.domain.jobs import MAX_PRIORITY
from modelry.protocols.management.shapes import Answer, Body, Digest, ShortText
from modelry.services.datasets.importing import MAX_FILES
from modelry.services.datasets.previewing import Preview
from modelry.services.datasets.service import DatasetSummary

Priority = Annotated[int, Field(strict=True, ge=-MAX_PRIORITY, le=MAX_PRIORITY)]


class Column(Answer):
    """A column: `classes` of a label or of boxes, `shape` and `dtype` of a tensor."""

    name: str
    type: str
    role: str
    is_nullable: bool
    classes: list[str]
    shape: list[int]
    dtype: str

    @classmethod
    def of(cls, column: DomainColumn) -> Column:
        """The shape of `column`."""
        return cls(
            name=column.name,
            type=column.type.value,
            role=column.role.value,
            is_nullable=column.is_nullable,
            classes=list(column.classes),
            shape=list(column.shape),
            dtype=column.dtype,
        )


class Split(Answer):
    """A named part; `size_bytes` is that of its files."""

    name: str
    rows: int
    size_bytes: int


class DatasetVersion(Answer):
    """An immutable version: the same rows have the same `digest`."""

    dataset: str
    version: int
    ref: str
    digest: str
    columns: list[Column]
    splits: list[Split]
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, version: DomainVersion) -> DatasetVersion:
        """The shape of `version`."""
        return cls(**_fields(version))


class DatasetVersionDetails(DatasetVersion):
    """A version with what is known of its rows, and where it came from."""

    statistics: dict[str, Any]
    report: dict[str, Any]
    origin: dict[str, Any]

    @classmethod
    def of(cls, version: DomainVersion) -> DatasetVersionDetails:
        """The shape of `version`."""
        return cls(
            **_fields(version),
            statistics=dict(version.statistics),
            report=dict(version.report),
            origin=dict(version.origin),
        )


def _fields(version: DomainVersion) -> dict[str, Any]:
    return {
        "dataset": version.dataset_name,
        "version": version.number,
        "ref": version.ref,
        "digest": version.digest,
        "columns": [Column.of(one) for one in version.schema.columns],
        "splits": [
            Split(
                name=one.name,
                rows=one.rows,
                size_bytes=sum(shard.size_bytes for shard in one.shards),
            )
            for one in version.splits
        ],
        "created_at": version.created_at,
        "created_by": version.created_by,
    }


class Dataset(Answer):
    """A dataset; `newest` is null when all its versions were deleted."""

    name: str
    created_at: datetime
    created_by: str
    newest: DatasetVersion | None

    @classmethod
    def of(cls, summary: DatasetSummary) -> Dataset:
        """The shape of `summary`."""
        return cls(
            name=summary.dataset.name,
            created_at=summary.dataset.created_at,
            created_by=summary.dataset.created_by,
            newest=None if summary.newest is None else DatasetVersion.of(summary.newest),
        )


class DatasetList(Answer):
    """All datasets, by name."""

    datasets: list[Dataset]


class DatasetVersionList(Answer):
    """All versions of a dataset, newest first."""

    versions: list[DatasetVersion]


class Rows(Answer):
    """Rows of one split, from `offset` on; `total` is how many it has.

    Images are `{"base64": …}`, boxes lists of objects, tensors nested lists; a value that is longer
    than was asked for is `{"omitted_bytes": …}`.
    """

    ref: str
    split: str
    offset: int
    total: int
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, preview: Preview) -> Rows:
        """The shape of `preview`."""
        return cls(
            ref=preview.version.ref,
            split=preview.split,
            offset=preview.offset,
            total=preview.total,
            rows=[dict(one) for one in preview.rows],
        )


class UploadedFile(Body):
    """A file that was uploaded, and its name."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    digest: Digest


class ImportBody(Body):
    """What to import: uploaded `files`, or a `source` (`hf://datasets/org/repo@revision/folder`).

    `format` is told by the files if it is left out. `options` are those of the format. `split`
    shares out rows that come without splits: `fractions` by name, `seed`, and the column to
    `stratify` by, which is the label's by default.
    """

    files: Annotated[list[UploadedFile], Field(default_factory=list, max_length=MAX_FILES)]
    source: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    format: ShortText | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    split: dict[str, Any] | None = None
    priority: Priority = 0


class DeriveBody(Body):
    """What to make a version of: `sources` such as `digits@3` are appended, then come the `steps`.

    Each step is an object with one of `filter`, `join` (and `to`), `split` (and `of`), `splits`,
    `rename`, `types`, `roles`, `classes`, `drop`, `sample` (and `seed`), `distinct`.
    """

    sources: Annotated[list[ShortText], Field(min_length=1, max_length=64)]
    steps: list[dict[str, Any]] = Field(default_factory=list, max_length=32)
    priority: Priority = 0
