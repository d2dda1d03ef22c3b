"""Rows beyond the memory of a run: read part by part, again in every epoch.

A part is a shard of the dataset. Parts that were used last stay in memory as far as a limit allows,
and an epoch goes through a few parts at a time, so that each is read about once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from modelry.training.loop import Plan

Places = npt.NDArray[np.int64]
Part = TypeVar("Part")


class PartCache(Generic[Part]):
    """Parts that are read when they are needed, the last ones kept.

    Args:
        read: gives a part by its number.
        size_of: how many bytes one takes.
        limit_bytes: of all that are kept; one is, however large.
    """

    def __init__(
        self, read: Callable[[int], Part], size_of: Callable[[Part], int], limit_bytes: int
    ) -> None:
        self._read, self._size_of, self._limit = read, size_of, limit_bytes
        self._kept: OrderedDict[int, tuple[Part, int]] = OrderedDict()
        self._size = self._largest = 0

    def get(self, number: int) -> Part:
        """The part."""
        found = self._kept.get(number)
        if found is None:
            self._make_room(self._largest)  # before it is read: the next one is likely as large
            part = self._read(number)
            self.put(number, part)
            return part
        self._kept.move_to_end(number)
        return found[0]

    def put(self, number: int, part: Part) -> None:
        """Keep a part that was read for something else."""
        size = self._size_of(part)
        self._largest = max(self._largest, size)
        self._make_room(size)
        self._kept[number] = part, size
        self._size += size

    def _make_room(self, more: int) -> None:
        while self._kept and self._size + more > self._limit:
            _, (_, size) = self._kept.popitem(last=False)
            self._size -= size


class Placing:
    """Which part a row is in, and where in it.

    Args:
        counts: rows of each part, in order.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self._ends = np.cumsum(counts, dtype=np.int64)
        self.starts = self._ends - np.asarray(counts, np.int64)
        """The first row of each part."""

    def parts_of(self, places: Places) -> Places:
        """The part of each row."""
        found: Places = np.searchsorted(self._ends, places, side="right").astype(np.int64)
        return found

    def split(self, places: Places) -> list[tuple[int, Places, Places]]:
        """By part: its number, where its rows stand among `places`, and where in the part."""
        parts = self.parts_of(places)
        found = []
        for part in np.unique(parts):
            among = np.flatnonzero(parts == part).astype(np.int64)
            found.append((int(part), among, places[among] - self.starts[part]))
        return found


def parts_at_once(sizes: Sequence[int], limit_bytes: int) -> int:
    """How many parts an epoch goes through together: half of what fits, for those to come."""
    return max(1, limit_bytes // max(1, *sizes) // 2)


def by_parts(parts: Places, batch_size: int, at_once: int) -> Plan:
    """A plan that goes through some parts at a time, in an order of its own each epoch.

    Args:
        parts: the part of each row that is learnt from.
        batch_size: rows in a batch.
        at_once: how many parts' rows are mixed.
    """
    groups = [torch.from_numpy(np.flatnonzero(parts == one)) for one in np.unique(parts)]

    def plan(generator: torch.Generator) -> Sequence[torch.Tensor]:
        ordered: list[torch.Tensor] = []
        for window in torch.split(torch.randperm(len(groups), generator=generator), at_once):
            rows = torch.cat([groups[at] for at in window.tolist()])
            ordered.append(rows[torch.randperm(len(rows), generator=generator)])
        return torch.split(torch.cat(ordered), batch_size)

    return plan
