"""How far a worker is shut in: the measures in force, and the level that they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from modelry.domain.errors import SandboxTooWeak


class Measure(StrEnum):
    """One wall around a worker."""

    PRIVILEGES = "privileges"
    """No new privileges, no capabilities."""
    UNDUMPABLE = "undumpable"
    """Its memory cannot be read by processes of the same user, and leaves no core file."""
    RESOURCES = "resources"
    """Bounds on open files and on the size of a file."""
    SYSTEM_CALLS = "system_calls"
    """A filter: no tracing, no new process, no program, no socket but Unix ones, no mounting …"""
    FILES = "files"
    """Landlock: reads its code and its model, writes its scratch folder, nothing else."""
    TREE = "tree"
    """A file tree of its own that holds nothing else, read-only."""
    SCRATCH = "scratch"
    """A scratch folder in memory with a bound, from which nothing can be run."""
    NETWORK = "network"
    """A network of its own without any interface."""
    IPC = "ipc"
    """System V objects, message queues and host name of its own."""
    SIGNALS = "signals"
    """Landlock: signals and abstract sockets reach nobody outside."""
    USER = "user"
    """A user id of its own instead of root's, where the server runs as root."""
    THREADS = "threads"
    """A bound on its threads."""
    MEMORY_GROUP = "memory_group"
    """A control group that bounds its memory."""


class SandboxLevel(StrEnum):
    """How far a worker is shut in; each level has all of the one before."""

    NONE = "none"
    BASIC = "basic"
    """Few rights, few system calls, no network."""
    ISOLATED = "isolated"
    """And no file but its own."""
    STRICT = "strict"
    """And two independent walls each before files, network and other processes."""

    @property
    def rank(self) -> int:
        """Larger is further shut in."""
        return list(SandboxLevel).index(self)


_NEEDED: dict[SandboxLevel, tuple[frozenset[Measure], ...]] = {
    SandboxLevel.NONE: (),
    SandboxLevel.BASIC: tuple(
        frozenset({measure})
        for measure in (
            Measure.PRIVILEGES,
            Measure.UNDUMPABLE,
            Measure.RESOURCES,
            Measure.SYSTEM_CALLS,
        )
    ),
    SandboxLevel.ISOLATED: (frozenset({Measure.FILES, Measure.TREE}),),
    SandboxLevel.STRICT: tuple(
        frozenset({measure})
        for measure in (
            Measure.FILES,
            Measure.TREE,
            Measure.SCRATCH,
            Measure.NETWORK,
            Measure.IPC,
            Measure.SIGNALS,
        )
    ),
}
"""What each level adds; of the measures in one set, one is enough."""


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What is in force around one worker.

    Attributes:
        in_force: the measures, each with a word on how.
        lacking: the others, each with the reason.
    """

    in_force: Mapping[Measure, str] = field(default_factory=dict)
    lacking: Mapping[Measure, str] = field(default_factory=dict)

    @property
    def level(self) -> SandboxLevel:
        """The highest level all of whose measures are in force."""
        reached = SandboxLevel.NONE
        for level, needed in _NEEDED.items():
            if not all(one & self.in_force.keys() for one in needed):
                break
            reached = level
        return reached

    def shortfall(self, wanted: SandboxLevel) -> str | None:
        """What keeps the worker below `wanted`, in words; None when it is reached."""
        if self.level.rank >= wanted.rank:
            return None
        missing: list[Measure] = []
        for level, needed in _NEEDED.items():
            if level.rank <= wanted.rank:
                for one in needed:
                    if not one & self.in_force.keys():
                        missing += sorted(one)
        told = dict.fromkeys(missing)
        return "; ".join(f"{one}: {self.lacking.get(one, 'not tried')}" for one in told)

    def with_measure(self, measure: Measure, how: str) -> SandboxReport:
        """This report, with one more measure in force."""
        lacking = {key: reason for key, reason in self.lacking.items() if key is not measure}
        return SandboxReport({**self.in_force, measure: how}, lacking)

    def without_measure(self, measure: Measure, reason: str) -> SandboxReport:
        """This report, with one measure lacking."""
        in_force = {key: how for key, how in self.in_force.items() if key is not measure}
        return SandboxReport(in_force, {**self.lacking, measure: reason})

    def to_wire(self) -> dict[str, Any]:
        """This report as JSON types."""
        return {
            "level": self.level.value,
            "in_force": {one.value: how for one, how in self.in_force.items()},
            "lacking": {one.value: reason for one, reason in self.lacking.items()},
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> SandboxReport:
        """The report that `to_wire` wrote; measures that are not known here are left out."""
        known = {one.value for one in Measure}

        def read(key: str) -> dict[Measure, str]:
            found: Mapping[str, Any] = wire.get(key) or {}
            return {Measure(name): str(text) for name, text in found.items() if name in known}

        return cls(read("in_force"), read("lacking"))


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """What is asked of workers' sandboxes.

    Attributes:
        required: no model is loaded, and none registered, below this level.
        readable: files and folders that every worker may read, beside code and its own model.
        hidden: folders that no worker may read, wherever they lie: what holds one is not
            readable either.
    """

    required: SandboxLevel = SandboxLevel.NONE
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()

    def check(self, report: SandboxReport) -> None:
        """Pass a sandbox that reaches the required level.

        Raises:
            SandboxTooWeak: it does not; tells what is lacking.
        """
        shortfall = report.shortfall(self.required)
        if shortfall is not None:
            raise SandboxTooWeak(
                f"This server takes and loads models only in a sandbox of level '{self.required}'; "
                f"its machine reaches '{report.level}'. Lacking: {shortfall}. Its operator can "
                "mend that, or lower MODELRY_REQUIRE_SANDBOX."
            )


DEFAULT_POLICY = SandboxPolicy()
"""As far as the kernel goes, with nothing demanded."""
