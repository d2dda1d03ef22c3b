"""How many files and connections this process may have open."""

from __future__ import annotations

import resource

MOST_WANTED = 65_536
KEPT = 256
"""For workers' links, the database and files, whatever callers do."""


def raise_limit() -> None:
    """Have the system allow as many open files as it does without asking anybody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_WANTED if hard == resource.RLIM_INFINITY else min(MOST_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections(wanted: int) -> int:
    """How many connections of callers leave room for everything else.

    Args:
        wanted: the operator's limit.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - KEPT if soft > 2 * KEPT else soft // 2))
