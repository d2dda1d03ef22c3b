"""Which versions jobs need that have not ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from modelry.domain.datasets import DatasetVersion
from modelry.domain.jobs import Job


def needing(version: DatasetVersion, jobs: Iterable[Job]) -> list[str]:
    """The jobs that name `version` in their parameters, in words."""
    return [
        f"the job {one.job_id} ({one.kind})"
        for one in jobs
        if version.ref in set(_texts(one.parameters))
    ]


def _texts(value: Any) -> Iterator[str]:
    """All texts in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
