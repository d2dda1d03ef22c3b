"""What may be said about an import, per format. Imports no pyarrow: the server checks it first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelry.domain.datasets import ColumnRole, ColumnType

Name = Annotated[str, Field(min_length=1, max_length=200)]
MAX_CLASSES = 10_000
Table = Literal["text", "integer", "number", "boolean", "time", "image"]


class ImportOptions(BaseModel):
    """Options that every format takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_bad_rows: Literal["refuse", "skip"] = Field(
        "refuse", description="Whether rows that cannot be used end the import or are left out."
    )
    splits: dict[Name, list[Name]] = Field(
        default_factory=dict,
        description="The files of each split. Without it the words train, validation and test in "
        "their names say it.",
    )
    classes: Annotated[list[Name], Field(max_length=MAX_CLASSES)] = Field(
        default_factory=list,
        description="Names of the classes, in the order of their numbers; by default as found.",
    )

    @field_validator("classes")
    @classmethod
    def _are_different(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("class names must differ from each other")
        return value


class LabelledOptions(ImportOptions):
    """Options of formats whose labels may be classes or quantities."""

    labels: Literal["classes", "numbers"] | None = Field(
        None,
        description="Whether the label names a class or is a quantity; by default as its values "
        "look.",
    )


class TableOptions(LabelledOptions):
    """Options of formats with columns of any names."""

    label: Name | None = Field(None, description="The column that is to be predicted.")
    source: Name | None = Field(None, description="The column with the text to start from.")
    target: Name | None = Field(None, description="The column with the text to produce.")
    id: Name | None = Field(None, description="The column that names each row.")
    weight: Name | None = Field(None, description="The column with each row's weight.")
    ignore: list[Name] = Field(
        default_factory=list, description="Columns that are kept and not used."
    )
    leave_out: list[Name] = Field(
        default_factory=list, description="Columns that are not imported at all."
    )
    features: list[Name] = Field(
        default_factory=list, description="The columns to predict from; all others by default."
    )
    types: dict[Name, Table] = Field(
        default_factory=dict,
        description="Types of columns; by default as all of their values look.",
    )

    @model_validator(mode="after")
    def _has_one_role_each(self) -> TableOptions:
        named = [one for one in (self.label, self.source, self.target, self.id, self.weight) if one]
        named += self.ignore + self.features + self.leave_out
        twice = sorted({one for one in named if named.count(one) > 1})
        if twice:
            raise ValueError(f"column '{twice[0]}' is named for two roles")
        if (self.source is None) != (self.target is None):
            raise ValueError("source and target are given together or not at all")
        return self

    def roles(self) -> dict[str, ColumnRole]:
        """The roles that were given, by column."""
        single = (
            (self.label, ColumnRole.LABEL),
            (self.source, ColumnRole.SOURCE),
            (self.target, ColumnRole.TARGET),
            (self.id, ColumnRole.ID),
            (self.weight, ColumnRole.WEIGHT),
        )
        roles = {name: role for name, role in single if name is not None}
        roles |= dict.fromkeys(self.ignore, ColumnRole.IGNORED)
        return roles | dict.fromkeys(self.features, ColumnRole.FEATURE)

    def column_types(self) -> dict[str, ColumnType]:
        """The types that were given, by column."""
        return {name: ColumnType(one) for name, one in self.types.items()}


class CsvOptions(TableOptions):
    """Options of CSV files."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None,
        description="What stands between cells: by default a comma, semicolon, tab or bar, as the "
        "header shows.",
    )
    quote: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        '"', description="What stands around cells that hold delimiters or line ends."
    )
    encoding: Annotated[str, Field(max_length=40)] | None = Field(
        None,
        description="Of the text: by default UTF-8, or UTF-16 where a byte order mark says so.",
    )
    header: bool | list[Name] = Field(
        default=True,
        description="Whether the first row names the columns; or the names, when no row does.",
    )
    null_values: list[Annotated[str, Field(max_length=40)]] = Field(
        default_factory=lambda: ["NA", "N/A", "n/a", "null", "NULL", "None", "#N/A", "-"],
        description="Cells that stand for a missing value in columns that are not text; an empty "
        "cell does so in every column.",
    )


class JsonLinesOptions(TableOptions):
    """Options of JSON lines."""


class ChatOptions(ImportOptions):
    """Options of conversations."""


class ParquetOptions(TableOptions):
    """Options of Parquet files."""


class ArraysOptions(LabelledOptions):
    """Options of NumPy archives."""

    label: Name | None = Field(None, description="The array to predict; 'y' by default.")


class IdxOptions(LabelledOptions):
    """Options of IDX files."""


class ImageFolderOptions(ImportOptions):
    """Options of image folders."""


class BoxOptions(ImportOptions):
    """Options of formats with boxes."""

    boxes_outside: Literal["refuse", "clip"] = Field(
        "refuse",
        description="What is done with boxes that reach beyond their image by more than a pixel: "
        "their row is a bad one, or they are cut at its edge.",
    )


class CocoOptions(BoxOptions):
    """Options of COCO annotations."""


class YoloOptions(BoxOptions):
    """Options of YOLO folders."""


class ParallelTextOptions(ImportOptions):
    """Options of parallel text."""

    source_language: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="The language to start from, as the files call it (de, de-DE)."
    )
    target_language: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="The language to produce, as the files call it."
    )
    header: bool = Field(
        default=False, description="Whether the first line of tab-separated files is a header."
    )
