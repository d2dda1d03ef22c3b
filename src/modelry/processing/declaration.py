"""From steps as people write them to steps as versions keep them.

Written: `softmax`, `resize: 256`, `normalize: {mean: 127, std: 128}`, `{step: resize, size: 256}`.
Kept: `{"step": "resize", "size": 256, …}` with every default filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import ManifestInvalid
from modelry.processing.kinds import Side, StepKind
from modelry.processing.parameters import Unfit, read_parameters, show, suggest
from modelry.processing.registry import find_step, step_names

MAX_STEPS = 64


@dataclass(frozen=True, slots=True)
class _Written:
    """A step as it was written: its name, parameters, and where they stand."""

    name: Any
    given: Any
    path: str


def normalize_steps(raw: Sequence[Any], side: Side) -> list[dict[str, Any]]:
    """Steps with their parameters checked and their defaults filled in; idempotent.

    Args:
        raw: steps as written.
        side: `pre` (before the engine) or `post` (after it).

    Raises:
        ManifestInvalid: names the step and the parameter and says what is expected; its
            `param` is the dotted path (`pre[1].resize`).
    """
    if isinstance(raw, str | bytes | Mapping) or not isinstance(raw, Sequence):
        raise ManifestInvalid(f"'{side}' is {show(raw)}; expected a list of steps.", param=side)
    if len(raw) > MAX_STEPS:
        raise ManifestInvalid(
            f"'{side}' has {len(raw)} steps; at most {MAX_STEPS} are allowed.", param=side
        )
    return [_normalize(entry, side, index) for index, entry in enumerate(raw)]


def step_kind(step: Mapping[str, Any], side: Side, index: int) -> StepKind:
    """The kind of a normalised step.

    Raises:
        ManifestInvalid: no such step is installed.
    """
    return _kind(step.get("step"), side, index, f"{side}[{index}]")


def place(side: Side, index: int, name: object) -> str:
    """A step's place in words, to begin a message with."""
    return f"Step {index + 1} of '{side}', '{str(name)[:80]}': "


def _normalize(entry: Any, side: Side, index: int) -> dict[str, Any]:
    written = _written(entry, side, index)
    kind = _kind(written.name, side, index, written.path)
    given = written.given
    if given is None:
        given = {}
    elif not isinstance(given, Mapping):
        if kind.shorthand is None:
            raise ManifestInvalid(
                place(side, index, kind.name)
                + f"it takes no bare value, but {show(given)} was given. "
                f"{_usage(kind)}",
                param=written.path,
            )
        given = {kind.shorthand: given}
    try:
        values = read_parameters(kind.parameters, given)
    except Unfit as reason:
        where = place(side, index, kind.name)
        raise ManifestInvalid(where + str(reason), param=written.path) from None
    said = {name: value for name, value in values.items() if value is not None}
    return {"step": kind.name, **said}


def _written(entry: Any, side: Side, index: int) -> _Written:
    path = f"{side}[{index}]"
    if isinstance(entry, str):
        return _Written(entry, None, path)
    if isinstance(entry, Mapping) and all(isinstance(key, str) for key in entry):
        if "step" in entry:
            given = {key: value for key, value in entry.items() if key != "step"}
            return _Written(entry["step"], given, path)
        if len(entry) == 1:
            ((name, given),) = entry.items()
            return _Written(name, given, f"{path}.{name}")
    raise ManifestInvalid(
        f"Step {index + 1} of '{side}' is {show(entry)}; expected a step's name ('softmax'), or "
        "one name with its parameters ('resize: 256').",
        param=path,
    )


def _kind(name: Any, side: Side, index: int, path: str) -> StepKind:
    kind = find_step(side, name) if isinstance(name, str) else None
    if kind is not None:
        return kind
    other: Side = "post" if side == "pre" else "pre"
    if isinstance(name, str) and find_step(other, name) is not None:
        raise ManifestInvalid(
            place(side, index, name) + f"this step belongs under '{other}'.", param=path
        )
    known = step_names(side)
    raise ManifestInvalid(
        f"Step {index + 1} of '{side}' is {show(name)}, which is not known; known are: "
        f"{', '.join(known)}.{suggest(str(name), known)}",
        param=path,
    )


def _usage(kind: StepKind) -> str:
    names = ", ".join(parameter.name for parameter in kind.parameters)
    return f"Its parameters are: {names}." if names else "It has no parameters."
