"""Runtimes by name, resolved lazily from the entry point group `modelry.runtimes`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from modelry.domain.errors import NotSupported
from modelry.runtime_api.engine import Runtime

GROUP = "modelry.runtimes"


@cache
def _declared() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def runtime_names() -> list[str]:
    """Names of the runtimes that are declared here, sorted; their libraries may be missing."""
    return sorted(_declared())


def load_runtime(name: str) -> Runtime:
    """The runtime called `name`; imports its library, so call it in a worker only.

    Raises:
        NotSupported: not declared, or its library is not installed.
    """
    point = _declared().get(name)
    if point is None:
        raise NotSupported(f"Unknown runtime '{name}'; known are: {', '.join(runtime_names())}.")
    try:
        runtime: Runtime = point.load()()
    except ImportError as error:
        raise NotSupported(
            f"Runtime '{name}' cannot be imported ({error}). If it is an extra, install it: "
            f"pip install 'modelry[{name}]'."
        ) from error
    return runtime
