"""The parameters of a job `train`, read from what callers send, and kept with the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField

MAX_SEED = 2**31 - 1
MAX_BASE_FILES = 16
MAX_THREADS = 1024
_KEYS = (
    "recipe",
    "dataset",
    "model",
    "parameters",
    "seed",
    "base",
    "base_files",
    "threads",
    "reproduces",
)


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What to train, on what.

    Attributes:
        recipe: the name of a recipe.
        dataset: a version of a dataset; `name@3` once it is pinned.
        model: the name of the model that gets the version.
        parameters: of the recipe.
        seed: all randomness follows from it.
        base: a version to train further; `name@3` once it is pinned.
        base_files: `{"digest", "name"}` of kept files to begin from, by role; those of `base` when
            there is one.
        threads: how many compute; the server's choice when None, until it is pinned.
        reproduces: the version that is trained again, to compare; nothing is registered then.
        dataset_digest: of the rows; pinned.
    """

    recipe: str
    dataset: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    base: str = ""
    base_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: int | None = None
    reproduces: str = ""
    dataset_digest: str = ""

    @property
    def base_digests(self) -> dict[str, str]:
        """Of the files to begin from, by role."""
        return {role: one["digest"] for role, one in self.base_files.items()}

    @property
    def base_names(self) -> dict[str, str]:
        """What those files are called, by role."""
        return {role: one["name"] for role, one in self.base_files.items()}

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> TrainingOrder:
        """The order that `to_wire` wrote."""
        return cls(**wire)


def read_order(given: Mapping[str, Any]) -> TrainingOrder:
    """The order that a caller sent; names are not pinned yet.

    Raises:
        InvalidInput: something is missing, or not of the type expected.
        UnsupportedField: there is more than is known.
    """
    unknown = given.keys() - set(_KEYS)
    if unknown:
        raise UnsupportedField(
            f"'{min(unknown)[:80]}' is not known; a job 'train' takes: {', '.join(_KEYS)}.",
            param=min(unknown)[:80],
        )
    base_files = _mapping(given, "base_files")
    if len(base_files) > MAX_BASE_FILES:
        raise InvalidInput(
            f"There are {len(base_files)} base files; at most {MAX_BASE_FILES} are possible.",
            param="base_files",
        )
    return TrainingOrder(
        recipe=_text(given, "recipe"),
        dataset=_text(given, "dataset"),
        model=_text(given, "model"),
        parameters=_mapping(given, "parameters"),
        seed=_number(given, "seed", 0, MAX_SEED) or 0,
        base=_text(given, "base", optional=True),
        base_files={role: _base_file(role, entry) for role, entry in base_files.items()},
        threads=_number(given, "threads", 1, MAX_THREADS),
        reproduces=_text(given, "reproduces", optional=True),
    )


def _base_file(role: str, entry: Any) -> dict[str, str]:
    where = f"base_files.{role[:64]}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("digest"), str):
        raise InvalidInput(
            f"'{where}' should be an object with the 'digest' of an uploaded file, and its 'name'.",
            param=where,
        )
    name = entry.get("name", role)
    if not isinstance(name, str) or not 0 < len(name) <= 255 or "/" in name or "\0" in name:
        raise InvalidInput(f"'{where}.name' should be a file's name, without folders.", param=where)
    return {"digest": entry["digest"], "name": name}


def _text(given: Mapping[str, Any], key: str, *, optional: bool = False) -> str:
    value = given.get(key)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or (not value and not optional) or len(value) > 200:
        told = "is missing" if value is None else f"is {str(value)[:80]!r}"
        raise InvalidInput(f"'{key}' {told}; expected a name.", param=key)
    return value


def _mapping(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"'{key}' is {str(value)[:80]!r}; expected an object.", param=key)
    return dict(value)


def _number(given: Mapping[str, Any], key: str, least: int, most: int) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(
            f"'{key}' is {str(value)[:80]!r}; expected a whole number from {least} to {most}.",
            param=key,
        )
    return value


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
