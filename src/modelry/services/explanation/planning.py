"""What an `explain` job is asked for, and the plan that it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelry.domain.catalog import ModelFile, Version
from modelry.domain.datasets import DatasetVersion, Split
from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.contract import MOST_CALLS
from modelry.explaining.methods import METHODS
from modelry.runtime_api.work import Json
from modelry.runtime_api.work_room import SCRATCH_SETTING
from modelry.services.evaluation.asked import check_known, columns_in, subject_of
from modelry.services.jobs.handoff import VERSION, VERSION_OF
from modelry.studying.contract import (
    LEAST_SECONDS,
    MODEL,
    MOST_BACKGROUND,
    MOST_CHECKED,
    MOST_COLUMNS,
    MOST_PERMUTATIONS,
    MOST_RANDOMISATIONS,
    MOST_ROWS,
    MOST_SECONDS,
    TABULAR,
    TASKS,
    Plan,
    Shards,
)
from modelry.studying.rows import RowReader

USUAL_ROWS = 200
USUAL_CHECKED = 20
USUAL_PERMUTATIONS = 5
USUAL_BACKGROUND = 50
MOST_SEED = 2**32 - 1

_NUMBERS: Mapping[str, tuple[int, int, int]] = {
    "rows": (USUAL_ROWS, 1, MOST_ROWS),
    "checked": (USUAL_CHECKED, 0, MOST_CHECKED),
    "seed": (0, 0, MOST_SEED),
    "background": (USUAL_BACKGROUND, 1, MOST_BACKGROUND),
    "permutations": (USUAL_PERMUTATIONS, 0, MOST_PERMUTATIONS),
    "randomisations": (0, 0, MOST_RANDOMISATIONS),
}
"""The usual value of each whole number, the least, the most."""
_KNOWN = frozenset(
    {VERSION, VERSION_OF, "dataset", "split", "method", "target", "calls", "seconds", "slices",
     "dependence", *_NUMBERS}
)  # fmt: skip
_KINDS = {"image-classification": "image", "text-classification": "text", TABULAR: "table"}
_TRAIN = "train"


def read_parameters(parameters: Json) -> dict[str, Any]:
    """What is said of how to explain, with every default filled in.

    Raises:
        InvalidInput: something is not as it must be.
    """
    check_known(parameters, _KNOWN, "explanations")
    told: dict[str, Any] = {
        name: _number(parameters.get(name, usual), name, least, most)
        for name, (usual, least, most) in _NUMBERS.items()
    }
    calls = parameters.get("calls")
    told["calls"] = None if calls is None else _number(calls, "calls", 2, MOST_CALLS)
    told["seconds"] = _seconds(parameters.get("seconds"))
    for name in ("method", "target"):
        value = parameters.get(name)
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= 200):
            raise InvalidInput(f"'{name}' must be a text.", param=name)
        told[name] = value
    told["slices"] = list(columns_in(parameters, "slices"))
    told["dependence"] = list(columns_in(parameters, "dependence"))
    if len(told["dependence"]) > MOST_COLUMNS:
        raise InvalidInput(f"'dependence' names more than {MOST_COLUMNS} columns.",
                           param="dependence")  # fmt: skip
    return told


def plan_of(
    version: Version, dataset: DatasetVersion, split: Split, told: Json, scratch_bytes: int
) -> Plan:
    """The plan of a study.

    Args:
        version: what is explained.
        dataset: where the rows come from.
        split: which of its splits.
        told: as `read_parameters` gave it.
        scratch_bytes: what the work may write: copies of the model file, one at a time.

    Raises:
        NotSupported: rows of this task cannot be explained.
        InvalidInput: version, rows and parameters do not suit each other.
    """
    if version.task not in TASKS:
        raise NotSupported(
            f"Versions of the task '{version.task}' are not explained over datasets; those of "
            f"{', '.join(TASKS)} are.",
            param="version",
        )
    subject = replace(subject_of(version, dataset), slices=tuple(told["slices"]))
    reader = RowReader(subject)
    _check_method(version.task, told["method"])
    for column in told["dependence"]:
        if version.task != TABULAR or column not in reader.items.columns:
            raise InvalidInput(
                f"'{column[:80]}' is no column that {version.ref} takes: partial dependence is "
                "told of those of tables.",
                param="dependence",
            )
    if told["randomisations"] and model_file(version).size_bytes > scratch_bytes:
        raise InvalidInput(
            f"The model file of {version.ref} has {model_file(version).size_bytes >> 20} MiB; "
            f"copies of up to {scratch_bytes >> 20} MiB can be made here. Leave 'randomisations' "
            f"out, or have the server's operator allow more ({SCRATCH_SETTING}).",
            param="randomisations",
        )
    usual = dataset.split(_TRAIN)
    return Plan(
        subject=subject,
        data=_shards(split),
        background=_shards(usual if usual is not None and usual.rows else split),
        rows=min(told["rows"], split.rows),
        checked=told["checked"],
        method=told["method"],
        target=told["target"],
        calls=told["calls"],
        seed=told["seed"],
        background_rows=told["background"] if version.task == TABULAR else 0,
        permutations=told["permutations"],
        dependence=tuple(told["dependence"]),
        randomisations=told["randomisations"],
        seconds=told["seconds"],
    )


def model_file(version: Version) -> ModelFile:
    """The file whose weights can be drawn anew.

    Raises:
        InvalidInput: the version has none.
    """
    for file in version.files:
        if file.role == MODEL and file.name.endswith(".onnx"):
            return file
    raise InvalidInput(
        f"{version.ref} has no model file of the format ONNX, whose weights could be drawn anew.",
        param="randomisations",
    )


def _check_method(task: str, method: str | None) -> None:
    known = METHODS[_KINDS[task]]
    if method is not None and method not in known:
        raise InvalidInput(
            f"method is '{method[:40]}'; versions of the task '{task}' are explained by: "
            f"{', '.join(known)}.",
            param="method",
        )


def _shards(split: Split) -> Shards:
    return Shards(split.name, tuple((one.digest, one.rows) for one in split.shards))


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise InvalidInput(
            f"'seconds' must be a number from {LEAST_SECONDS:g} to {MOST_SECONDS:.0f}.",
            param="seconds",
        )
    return seconds


def _number(value: object, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(f"'{name}' must be a whole number from {least} to {most}.", param=name)
    return value
