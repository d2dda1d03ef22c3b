"""The formats that can be imported, and which one files are. Imports no pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from modelry.datasets.importers import options as declared
from modelry.datasets.importers.contract import ImportRequest, Source, Watch, unwatched
from modelry.datasets.importers.guessing import guess_format
from modelry.datasets.importers.options import ImportOptions
from modelry.datasets.importers.problems import Problems
from modelry.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        name: as requests call it.
        summary: what its files are.
        options: what may be said about an import of it.
        module: of this package, with `open_files(request) -> Source`.
    """

    name: str
    summary: str
    options: type[ImportOptions]
    module: str


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format(
            "csv",
            "Text with a row a line (.csv, .tsv, also .gz).",
            declared.CsvOptions,
            "csv_files",
        ),
        Format(
            "jsonl",
            "A JSON object a line (.jsonl, .ndjson, also .gz).",
            declared.JsonLinesOptions,
            "jsonl",
        ),
        Format(
            "chat",
            "Conversations to learn from, a JSON object a line: OpenAI's messages, or pairs of "
            "prompt and completion.",
            declared.ChatOptions,
            "chat",
        ),
        Format(
            "parquet",
            "Parquet files, also as hubs have them.",
            declared.ParquetOptions,
            "parquet_files",
        ),
        Format(
            "npz",
            "Arrays saved by numpy.savez: x_train, y_train, x_test, ...",
            declared.ArraysOptions,
            "npz",
        ),
        Format(
            "idx",
            "Images and labels as MNIST has them (also .gz).",
            declared.IdxOptions,
            "idx",
        ),
        Format(
            "image-folder",
            "A zip with a folder of images per class, in folders per split or not.",
            declared.ImageFolderOptions,
            "image_folder",
        ),
        Format(
            "coco",
            "Images with boxes: COCO's JSON, and the images in a zip.",
            declared.CocoOptions,
            "coco",
        ),
        Format(
            "yolo",
            "Images with boxes: a zip of images/, labels/ and data.yaml.",
            declared.YoloOptions,
            "yolo",
        ),
        Format(
            "parallel-text",
            "Texts and their counterparts: two files, tabs between them, or TMX.",
            declared.ParallelTextOptions,
            "parallel_text",
        ),
    )
}


def check_options(format_: str | None, options: Mapping[str, Any]) -> ImportOptions | None:
    """The options of a format, checked; None when the format is told by the files only.

    Raises:
        InvalidInput: there is no such format, or it takes no such options.
    """
    if format_ is None:
        return None
    if format_ not in FORMATS:
        raise InvalidInput(
            f"There is no format '{format_[:80]}'; there are {', '.join(FORMATS)}.", param="format"
        )
    try:
        return FORMATS[format_].options.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "options"
        known = ", ".join(FORMATS[format_].options.model_fields)
        raise InvalidInput(
            f"The option '{name[:80]}' of an import of {format_} is wrong: {first['msg']}. It "
            f"takes {known}.",
            param=name[:80],
        ) from None


def open_source(
    format_: str | None,
    files: Mapping[str, Path],
    options: Mapping[str, Any],
    watch: Watch = unwatched,
) -> Source:
    """Rows of foreign files.

    Args:
        format_: one of `FORMATS`; None to tell it by names and first bytes.
        files: where each can be read, by name; they must stay until the rows were read.
        options: as the format's options declare.
        watch: told how far reading is; what it raises ends the import.

    Raises:
        InvalidInput: files or options cannot be used.
        RowsInvalid: rows cannot be used, and the options say to refuse such.
    """
    if not files:
        raise InvalidInput("There is no file to import.", param="files")
    told = format_ or guess_format(files)
    checked = check_options(told, options)
    assert checked is not None
    module = import_module(f"modelry.datasets.importers.{FORMATS[told].module}")
    opener = cast("Callable[[ImportRequest], Source]", module.open_files)
    problems = Problems(skip=checked.on_bad_rows == "skip")
    return opener(ImportRequest(files, checked, problems, watch))
