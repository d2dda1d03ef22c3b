"""The live curves of a job, put together from what its attempts told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelry.domain.jobs import JobEvent


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """The values of one step; None for what is no finite number."""

    step: int
    values: Mapping[str, float | None]


def folded(events: Iterable[JobEvent]) -> Sequence[MetricPoint]:
    """The points of all events, by step.

    Points of one attempt at one step are put together; those of an earlier attempt are replaced.
    """
    found: dict[int, tuple[int, dict[str, float | None]]] = {}
    for event in events:
        for step, values in event.data["points"]:
            attempt, known = found.get(step, (event.attempt, {}))
            merged = {**known, **values} if attempt == event.attempt else dict(values)
            found[step] = (event.attempt, merged)
    return [MetricPoint(step, values) for step, (_, values) in sorted(found.items())]
