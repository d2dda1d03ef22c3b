"""What a fine-tuning job is asked to do, and what it keeps with itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.services.training.order import MAX_SEED

MAX_METADATA = 16
MAX_KEY_CHARS = 64
MAX_VALUE_CHARS = 512


@dataclass(frozen=True, slots=True)
class Wanted:
    """A fine-tuning as a caller asks for it; a hyperparameter that is None is chosen here.

    Attributes:
        model: a deployment, or a model's version (`name`, `name@3`, `name@alias`).
        training_file: the id of a file of rows.
        validation_file: the id of another one, which is only measured on.
        n_epochs: how often every row is seen.
        batch_size: rows per step.
        learning_rate_multiplier: times the learning rate that is usual for the recipe.
        seed: all randomness follows from it.
        suffix: part of the new model's name.
        metadata: for whoever asks.
        parameters: of the recipe, beside these.
    """

    model: str
    training_file: str
    validation_file: str | None = None
    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    seed: int = 0
    suffix: str = ""
    metadata: Mapping[str, str] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return _plain(self)


@dataclass(frozen=True, slots=True)
class FineTuningOrder:
    """A fine-tuning with every name pinned and every default filled in, kept with its job.

    Attributes:
        wanted: what was asked for.
        base: the version that is trained further, as `name@3`.
        task: of the base, and of what comes of it.
        recipe: what trains it.
        format: how its files are read.
        digests: of the files, by the parameter that names them.
        training: all parameters of the recipe.
        threads: how many compute.
        engine_options: of the deployment that was named; the new model's gets them, too.
    """

    wanted: Wanted
    base: str
    task: str
    recipe: str
    format: str
    digests: Mapping[str, str]
    training: Mapping[str, Any]
    threads: int | None = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        pinned = _plain(self)
        del pinned["wanted"]
        return {**self.wanted.to_wire(), "pinned": pinned}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> FineTuningOrder:
        """The order that `to_wire` wrote."""
        given = dict(wire)
        pinned = given.pop("pinned")
        return cls(wanted=Wanted(**given), **pinned)


_KEYS = tuple(one.name for one in fields(Wanted))


def read_wanted(given: Mapping[str, Any]) -> Wanted:
    """What a caller asks for; names are not looked up yet.

    Raises:
        InvalidInput: something is missing, or not of the type expected.
        UnsupportedField: there is more than is known.
    """
    unknown = sorted(given.keys() - set(_KEYS))
    if unknown:
        raise UnsupportedField(
            f"'{unknown[0][:80]}' is not known; a job 'fine-tune' takes: {', '.join(_KEYS)}.",
            param=unknown[0][:80],
        )
    parameters = given.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InvalidInput(
            "'parameters' must be an object: parameters of the recipe.", param="parameters"
        )
    return Wanted(
        model=_required(given, "model", 200),
        training_file=_required(given, "training_file", 200),
        validation_file=_text(given, "validation_file", 200),
        n_epochs=_whole(given, "n_epochs", 1, 100_000),
        batch_size=_whole(given, "batch_size", 1, 65_536),
        learning_rate_multiplier=_positive(given, "learning_rate_multiplier"),
        seed=_whole(given, "seed", 0, MAX_SEED) or 0,
        suffix="" if given.get("suffix") == "" else _text(given, "suffix", 64) or "",
        metadata=_metadata(given.get("metadata")),
        parameters=dict(parameters or {}),
    )


def _text(given: Mapping[str, Any], name: str, most_chars: int) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= most_chars or not value.isprintable():
        raise InvalidInput(
            f"'{name}' is {str(value)[:80]!r}; expected a text of 1 to {most_chars} characters.",
            param=name,
        )
    return value


def _required(given: Mapping[str, Any], name: str, most_chars: int) -> str:
    value = _text(given, name, most_chars)
    if value is None:
        raise InvalidInput(f"'{name}' is missing; it is required.", param=name)
    return value


def _whole(given: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(
            f"'{name}' is {str(value)[:80]!r}; expected a whole number from {least} to {most}.",
            param=name,
        )
    return value


def _positive(given: Mapping[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= 1e6:
        raise InvalidInput(
            f"'{name}' is {str(value)[:80]!r}; expected a number above 0, up to 1000000.",
            param=name,
        )
    return float(value)


def _metadata(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or len(given) > MAX_METADATA:
        raise InvalidInput(
            f"'metadata' must be an object of up to {MAX_METADATA} texts.", param="metadata"
        )
    for key, value in given.items():
        is_sound = isinstance(key, str) and 0 < len(key) <= MAX_KEY_CHARS
        if not is_sound or not isinstance(value, str) or len(value) > MAX_VALUE_CHARS:
            raise InvalidInput(
                f"'metadata' takes names of 1 to {MAX_KEY_CHARS} characters with texts of up to "
                f"{MAX_VALUE_CHARS}; '{str(key)[:80]}' does not fit.",
                param="metadata",
            )
    return dict(given)


def _plain(value: Wanted | FineTuningOrder) -> dict[str, Any]:
    found = {one.name: getattr(value, one.name) for one in fields(value)}
    return {name: dict(one) if isinstance(one, Mapping) else one for name, one in found.items()}
