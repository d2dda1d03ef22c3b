"""What processes hold open, told by name, so that a test of leaks says what leaked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil
from tests.support.operating import wait_until

DATABASE = "modelry.db"
"""Left out: the pool keeps as many connections as were ever used at once, up to its bound, so
that their number says how busy the server was and not what a client left behind."""


def open_descriptors(processes: Iterable[psutil.Process]) -> Counter[str]:
    """How many descriptors of `processes` lead to what, those of the database left out.

    Sockets and pipes count under their kind, as each has a number of its own.
    """
    return Counter(
        target.partition(":[")[0]
        for process in processes
        for target in _targets(process.pid)
        if DATABASE not in target.rpartition("/")[2]
    )


def wait_until_closed(
    processes: Iterable[psutil.Process], before: Counter[str], *, more: int, timeout_s: float
) -> None:
    """Wait until `processes` hold at most `more` descriptors than `before`; tell what they hold."""
    watched = list(processes)
    found: Counter[str] = Counter()

    def are_closed() -> bool:
        nonlocal found
        found = open_descriptors(watched)
        return found.total() <= before.total() + more

    try:
        wait_until(are_closed, "descriptors are closed", timeout_s)
    except AssertionError as failure:
        raise AssertionError(f"{failure}; more than before: {dict(found - before)}") from None


def _targets(pid: int) -> list[str]:
    targets = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            targets.append(str(descriptor.readlink()))
        except FileNotFoundError:  # closed in between
            continue
    return targets
