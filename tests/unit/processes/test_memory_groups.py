"""Control groups for workers, on a folder that stands for the kernel's."""

import os
from pathlib import Path

import pytest

from modelry.adapters.processes import memory_groups
from modelry.adapters.processes.memory_groups import (
    BESIDE_BYTES,
    MemoryBound,
    MemoryGroup,
    MemoryGroups,
    NoGroups,
    WorkerGroups,
)
from modelry.domain.sandbox import Measure, SandboxReport

MIB = 2**20


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The group `/service`, as systemd hands it to a service with `Delegate=yes`."""
    folder = tmp_path / "cgroup" / "service"
    folder.mkdir(parents=True)
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.subtree_control").write_text("")
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (tmp_path / "own").write_text("4:cpu:/elsewhere\n0::/service\n")
    return folder


@pytest.fixture
def delegated(monkeypatch) -> None:
    monkeypatch.setattr(memory_groups, "_is_delegated", lambda base: base.name == "service")


def opened(base: Path) -> MemoryGroups:
    return MemoryGroups(base.parent, base.parent.parent / "own")


def test_the_server_moves_into_a_leaf_and_workers_get_their_own(base, delegated):
    groups = opened(base)
    assert (base / "modelry-server" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+memory +pids"
    group = groups.make("r1-77", 100 * MIB)
    group.add(77)
    files = {path.name: path.read_text() for path in group.folder.iterdir()}
    assert files == {
        "memory.max": str(100 * MIB + BESIDE_BYTES), "memory.swap.max": "0",
        "memory.oom.group": "1", "pids.max": "4096", "cgroup.procs": "77",
    }  # fmt: skip


def test_a_second_start_finds_the_group_divided(base, delegated):
    (base / "cgroup.subtree_control").write_text("memory pids")
    (base.parent.parent / "own").write_text("0::/service/modelry-server\n")
    opened(base).make("r1-77", MIB)
    assert (base / "cgroup.procs").read_text() == f"{os.getpid()}\n"


def test_a_group_that_is_not_ours_is_left_alone(base):
    with pytest.raises(NoGroups, match="Delegate=yes"):
        opened(base)
    assert not (base / "modelry-server").exists()


def test_a_group_with_other_processes_is_left_alone(base, delegated):
    (base / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    with pytest.raises(NoGroups, match="other processes"):
        opened(base)
    assert not (base / "modelry-server").exists()


def test_no_memory_controller_is_told(base, delegated):
    (base / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(NoGroups, match="no memory controller"):
        opened(base)


def test_the_kernels_own_reason_is_told(tmp_path):
    group = MemoryGroup(tmp_path)
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\n")
    bound = MemoryBound(group, "228 MiB")
    assert not group.ran_out()
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\n")
    assert bound.end() == "out of memory: the kernel ended it at 228 MiB"
    assert MemoryBound(None, "none here").end() is None


def test_the_report_tells_of_the_group_or_of_the_reason():
    report = SandboxReport({Measure.FILES: "Landlock"}, {Measure.MEMORY_GROUP: "not known"})
    without = SandboxReport.from_wire(MemoryBound(None, "a reason").add_to(report.to_wire()))
    assert without.lacking[Measure.MEMORY_GROUP] == "a reason"
    bound = MemoryBound(MemoryGroup(Path("/nowhere")), "228 MiB")
    with_group = SandboxReport.from_wire(bound.add_to(report.to_wire()))
    assert with_group.in_force[Measure.MEMORY_GROUP] == "228 MiB"
    assert with_group.in_force[Measure.FILES] == "Landlock"


def test_without_groups_every_worker_is_told_why():
    groups = WorkerGroups()
    bound = groups.bound("r1", os.getpid(), None)
    assert bound.group is None
    assert bound.told
