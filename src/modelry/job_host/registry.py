"""Works by name, resolved lazily from the entry point group `modelry.works`."""

from __future__ import annotations

from importlib.metadata import entry_points

from modelry.domain.errors import NotFound, NotSupported
from modelry.runtime_api.work import Work

GROUP = "modelry.works"


def load_work(name: str) -> Work:
    """The work called `name`; imports its libraries, so call it in a process of work only.

    Raises:
        NotFound: none of that name is declared here.
        NotSupported: its libraries are not installed.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise NotFound(f"There is no work '{name}'; known are: {known}.", param="work")
    try:
        work: Work = points[name].load()()
    except ImportError as error:
        raise NotSupported(
            f"The work '{name}' cannot be imported ({error}). If a library for training is "
            "missing, install it on the server: pip install 'modelry[train]'."
        ) from error
    return work
