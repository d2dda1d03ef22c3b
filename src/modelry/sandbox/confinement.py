"""Every measure, in the order that they depend on each other, and what came of each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelry.domain.sandbox import Measure, SandboxReport
from modelry.sandbox import landlock, namespaces, paths, privileges, seccomp
from modelry.sandbox.gpus import NO_GPUS, Gpus
from modelry.sandbox.kernel import Refused, machine

SCRATCH_BYTES = 64 * 2**20
"""What a scratch folder holds beside the room for a copy of the model."""
_OWN_DESCRIPTORS = "/proc/self/fd/"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a worker may touch.

    Attributes:
        files: what the model is loaded from.
        scratch: the folder that it may write to, which lies in `TMPDIR`; None for none.
        extra: what the operator lets every worker read.
        hidden: what no worker may read, wherever it lies.
        room_bytes: how much the scratch folder holds beside copies of `files`.
        gpus: what it may compute on beside the CPU.
    """

    files: Sequence[Path] = ()
    scratch: Path | None = None
    extra: Sequence[Path] = ()
    hidden: Sequence[Path] = ()
    room_bytes: int = SCRATCH_BYTES
    gpus: Gpus = NO_GPUS

    @property
    def scratch_bytes(self) -> int:
        """How much the scratch folder may hold: some engines want a copy of the model."""
        sizes = [path.stat().st_size for path in self.files if path.is_file()]
        return self.room_bytes + sum(sizes)

    @property
    def links(self) -> dict[Path, str]:
        """Files that are links to what this process has open, with their targets."""
        targets = {path: str(path.readlink()) for path in self.files if path.is_symlink()}
        return {
            path: target for path, target in targets.items() if target.startswith(_OWN_DESCRIPTORS)
        }


def confine(ground: Ground) -> SandboxReport:
    """Shut this process in for good; call it while the process has one thread.

    What the kernel does not grant is in the report, and who asked decides.

    Raises:
        RuntimeError: there are more threads, which would stay outside.
    """
    progress = _Progress()
    name = machine()
    if not name:
        for measure in Measure:
            progress.lacking[measure] = "not Linux"
        return progress.report()
    threads = len(list((paths.own_process() / "task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"{threads} threads when the sandbox was made; expected one")
    gpus = ground.gpus
    # NVIDIA's driver names its threads through files there, and gives up where it cannot
    threads_own = [paths.own_process() / "task"] if gpus.devices else []
    keeping = _keep_sight_of([paths.own_process(), *threads_own])
    links, file_bytes = ground.links, ground.scratch_bytes
    files = [path for path in ground.files if path not in links]
    code = paths.code(ground.extra, ground.hidden)
    readable = [*code, *files, *gpus.readable, paths.own_process(), paths.NULL_DEVICE]
    scratch = [ground.scratch] if ground.scratch else []
    with progress.measure(Measure.PRIVILEGES) as told:
        privileges.refuse_new_privileges()
        told("no new privileges")
    tree = None
    if ground.scratch is not None:
        seen = [*readable, *gpus.devices]
        tree = namespaces.Tree(seen, threads_own, links, ground.scratch, ground.scratch_bytes)
    _leave_namespaces(progress, name, tree)
    privileges.drop_bound()
    _switch_user(progress, [*code, *files], scratch, gpus.groups())
    if Measure.PRIVILEGES in progress.in_force:
        with progress.measure(Measure.PRIVILEGES) as told:
            privileges.drop_capabilities(name)
            told("no new privileges, no capabilities")
    with contextlib.suppress(Refused):
        privileges.end_with_parent()
    with progress.measure(Measure.RESOURCES) as told:
        privileges.limit_resources(file_bytes)
        told(f"{privileges.OPEN_FILES} open files, files of {file_bytes >> 20} MiB")
    _limit_threads(progress)
    with progress.measure(Measure.UNDUMPABLE) as told:
        privileges.forbid_dumps()
        told("no core files, memory and environment hidden")
    _restrict_files(progress, readable, scratch, [*gpus.devices, *threads_own])
    with progress.measure(Measure.SYSTEM_CALLS) as told:
        told(seccomp.restrict(shares_memory=bool(gpus.devices)))
    progress.lacking[Measure.MEMORY_GROUP] = "the server has set none up for this worker"
    progress.kept = keeping
    return progress.report()


class _Progress:
    """What came of each measure so far."""

    def __init__(self) -> None:
        self.in_force: dict[Measure, str] = {}
        self.lacking: dict[Measure, str] = {}
        self.kept: Sequence[int] = ()

    @contextlib.contextmanager
    def measure(self, measure: Measure) -> Iterator[Callable[[str], None]]:
        """Note that `measure` is in force when told how, or lacking when something is refused."""
        self.in_force.pop(measure, None)

        def told(how: str) -> None:
            self.in_force[measure] = how

        try:
            yield told
        except (Refused, OSError, ValueError) as error:
            self.lacking[measure] = str(error)

    def report(self) -> SandboxReport:
        """The report."""
        return SandboxReport(self.in_force, self.lacking)


def _keep_sight_of(folders: Iterable[Path]) -> list[int]:
    """Hold `/proc/<pid>` open: Landlock grants what is held, and the kernel may forget the rest."""
    held = []
    for folder in folders:
        with contextlib.suppress(OSError):
            held.append(os.open(folder, os.O_PATH | os.O_CLOEXEC))
    return held


def _leave_namespaces(progress: _Progress, name: str, tree: namespaces.Tree | None) -> None:
    try:
        how = namespaces.leave()
    except Refused as error:
        for measure in (Measure.NETWORK, Measure.IPC, Measure.TREE, Measure.SCRATCH):
            progress.lacking[measure] = str(error)
        return
    progress.in_force[Measure.NETWORK] = f"no interface, {how}"
    progress.in_force[Measure.IPC] = how
    if tree is None:
        for measure in (Measure.TREE, Measure.SCRATCH):
            progress.lacking[measure] = "the worker was given no scratch folder"
        return
    with progress.measure(Measure.TREE) as told:
        namespaces.enter_tree(name, tree)
        told(f"{how}, read-only")
        progress.in_force[Measure.SCRATCH] = f"{tree.scratch_bytes >> 20} MiB in memory"
    if Measure.TREE in progress.lacking:
        progress.lacking[Measure.SCRATCH] = progress.lacking[Measure.TREE]


def _switch_user(
    progress: _Progress, readable: Iterable[Path], owned: Iterable[Path], groups: Sequence[int]
) -> None:
    if os.geteuid() != 0:
        progress.lacking[Measure.USER] = "the user of the server, who is not root"
        return
    with progress.measure(Measure.USER) as told:
        told(privileges.switch_user(readable, owned, groups))


def _limit_threads(progress: _Progress) -> None:
    """The kernel counts by user and user namespace; only one's own count is worth a limit."""
    is_own_user = Measure.USER in progress.in_force
    is_own_namespace = os.geteuid() != 0 and "user namespace" in progress.in_force.get(
        Measure.NETWORK, ""
    )
    if not is_own_user and not is_own_namespace:
        progress.lacking[Measure.THREADS] = (
            "root has no such limit" if os.geteuid() == 0 else "the count is shared with the server"
        )
        return
    with progress.measure(Measure.THREADS) as told:
        told(privileges.limit_threads())


def _restrict_files(
    progress: _Progress,
    readable: Sequence[Path],
    writable: Sequence[Path],
    used: Sequence[Path],
) -> None:
    version = landlock.abi()
    if version == 0:
        reason = "the kernel has no Landlock, or it is switched off"
        progress.lacking |= {Measure.FILES: reason, Measure.SIGNALS: reason}
        return
    with progress.measure(Measure.FILES) as told:
        landlock.restrict(version, readable, [*writable, paths.NULL_DEVICE], used)
        told(f"Landlock ABI {version}")
    if landlock.scopes_signals(version) and Measure.FILES in progress.in_force:
        progress.in_force[Measure.SIGNALS] = f"Landlock ABI {version}"
    else:
        progress.lacking[Measure.SIGNALS] = progress.lacking.get(
            Measure.FILES, f"Landlock ABI {version}; ABI {landlock.SCOPE_ABI} has it"
        )
