"""Steps by name: those of `processing/steps`, and those that other packages declare."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from modelry.domain.errors import InternalError
from modelry.processing import steps
from modelry.processing.kinds import Side, StepKind

GROUP = "modelry.processing_steps"


@cache
def _built_in() -> Mapping[tuple[Side, str], StepKind]:
    found: dict[tuple[Side, str], StepKind] = {}
    for module in pkgutil.iter_modules(steps.__path__):
        for kind in import_module(f"{steps.__name__}.{module.name}").STEPS:
            key = (kind.side, kind.name)
            if key in found:
                raise InternalError(f"Two steps of '{kind.side}' are called '{kind.name}'.")
            found[key] = kind
    return found


@cache
def _declared() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def find_step(side: Side, name: str) -> StepKind | None:
    """The step called `name` on that side; built-in ones cannot be replaced.

    Raises:
        InternalError: another package declares it and does not provide a `StepKind`.
    """
    kind = _built_in().get((side, name))
    if kind is not None:
        return kind
    point = _declared().get(name)
    if point is None:
        return None
    loaded = _load(point)
    return loaded if loaded.side == side else None


def _load(point: EntryPoint) -> StepKind:
    try:
        loaded = point.load()
    except ImportError as error:
        raise InternalError(
            f"Step '{point.name}' is declared but cannot be imported: {error}."
        ) from None
    if not isinstance(loaded, StepKind):
        raise InternalError(
            f"Step '{point.name}' is declared as {type(loaded).__name__}; expected a StepKind."
        )
    return loaded


def step_names(side: Side) -> list[str]:
    """Names that manifests can use on that side, sorted.

    Those of other packages are listed on both sides: they are only imported when used.
    """
    built_in = {name for its_side, name in _built_in() if its_side == side}
    return sorted(built_in | set(_declared()))
