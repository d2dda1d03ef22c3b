"""What jobs that look at a version on a split are asked for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modelry.domain.catalog import Version
from modelry.domain.datasets import DatasetVersion, Split
from modelry.domain.errors import InvalidInput, NotFound
from modelry.runtime_api.work import Json
from modelry.scoring.contract import Subject


def check_known(parameters: Json, known: Collection[str], what: str) -> None:
    """Refuse parameters that there are none of.

    Args:
        parameters: as a caller gave them.
        known: what there is.
        what: it is a parameter of: `an evaluation`.

    Raises:
        InvalidInput: one is not known.
    """
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InvalidInput(
            f"'{unknown[0][:80]}' is no parameter of {what}; there are {', '.join(sorted(known))}.",
            param=unknown[0][:80],
        )


def the_split(dataset: DatasetVersion, name: object) -> Split:
    """The split to measure on: by default `test`, `validation`, or the only one.

    Raises:
        NotFound: there is no such split, or none was told and several are there.
        InvalidInput: it has no rows.
    """
    names = [one.name for one in dataset.splits]
    if name is None:
        usual = [one for one in ("test", "validation") if one in names]
        name = usual[0] if usual else names[0] if len(names) == 1 else ""
    found = dataset.split(name) if isinstance(name, str) else None
    if found is None:
        raise NotFound(
            f"Dataset {dataset.ref} has no split '{str(name)[:80]}'; it has {', '.join(names)}.",
            param="split",
        )
    if not found.rows:
        raise InvalidInput(f"Split '{found.name}' of {dataset.ref} has no rows.", param="split")
    return found


def columns_in(parameters: Json, name: str) -> tuple[str, ...]:
    """A parameter that is a list of columns, each once.

    Raises:
        InvalidInput: it is none.
    """
    given = parameters.get(name, [])
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InvalidInput(f"'{name}' must be a list of names of columns.", param=name)
    return tuple(dict.fromkeys(given))


def subject_of(version: Version, dataset: DatasetVersion) -> Subject:
    """What is scored on what."""
    return Subject(
        task=version.task,
        schema=dataset.schema,
        features=_columns_of(version, dataset),
        inputs=tuple((one.name, one.datatype.value) for one in version.signature.inputs),
        steps=tuple(str(one["step"]) for one in version.manifest.get("post") or ()),
    )


def _columns_of(version: Version, dataset: DatasetVersion) -> tuple[str, ...]:
    """The columns that a version of tables takes, if its manifest names them.

    Raises:
        InvalidInput: the dataset lacks one.
    """
    if version.task != "tabular":
        return ()
    for step in version.manifest.get("pre", ()):
        if step.get("step") == "columns":
            names = tuple(str(one["name"]) for one in step["columns"])
            missing = [one for one in names if dataset.schema.find(one) is None]
            if missing:
                raise InvalidInput(
                    f"{version.ref} takes the column '{missing[0]}', which {dataset.ref} lacks.",
                    param="dataset",
                )
            return names
    return ()


def word_in(parameters: Json, name: str) -> str:
    """A parameter that names something.

    Raises:
        InvalidInput: it is not there, or no text.
    """
    value: Any = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must name one, as name@number.", param=name)
    return value
