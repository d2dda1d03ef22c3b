"""A sandbox with GPUs in it: made device nodes, in a process that is really shut in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.gpu_nodes import made_nodes

CODE = """
import fcntl, json, mmap, os, sys, threading
from pathlib import Path
from modelry.sandbox.confinement import Ground, confine
from modelry.sandbox.gpus import NO_GPUS, present
from modelry.sandbox.memory_limit import MemoryLimit

root, scratch, wants = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "gpu"
gpus = present(root) if wants else NO_GPUS
report = confine(Ground(scratch=scratch, gpus=gpus))
told = {"level": report.level.value, "groups": os.getgroups(), "refused": []}

def tried(what, attempt):
    try:
        attempt()
    except OSError as error:
        told[what] = error.errno
    else:
        told[what] = 0

def use():
    with open(root / "dev/nvidia0", "r+b", buffering=0) as device:
        device.write(b"x")
        told["ioctl"] = ioctl_of(device)

def ioctl_of(device):
    try:
        fcntl.ioctl(device, 0x4601)
    except OSError as error:
        return error.errno

def share():
    held = mmap.mmap(-1, 2**24, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    held.write(bytes(2**24))
    limit = MemoryLimit(2**23, counts_shared=True)
    told["excess"] = limit.excess() is not None

def name_a_thread():
    raised = []

    def begin():
        try:
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("cuda-thread")
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]

tried("use", use)
tried("name", name_a_thread)
tried("other", lambda: open(root / "dev/other", "r+b", buffering=0))
tried("told", lambda: (root / "proc/driver/nvidia/version").read_text())
tried("change", lambda: (root / "proc/driver/nvidia/version").write_text("x"))
tried("share", share)
print(json.dumps(told))
"""
NOT_A_TERMINAL, ENOENT, EACCES, EPERM, EROFS = 25, 2, 13, 1, 30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for folder in (root, root.parent):
        folder.chmod(0o755)
    folder = made_nodes(root, ("nvidia0", "nvidiactl", "other"))
    (folder / "nvidiactl").chmod(0o660)
    told = root / "proc/driver/nvidia"
    told.mkdir(parents=True)
    (told / "version").write_text("1")
    return root


def shut_in(root: Path, scratch: Path, wants: str) -> dict[str, object]:
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root), str(scratch), wants],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_a_gpu_is_in_reach_of_what_asks_for_one_and_nothing_else_is(root, tmp_path):
    told = shut_in(root, tmp_path / "with", "gpu")
    plain = shut_in(root, tmp_path / "without", "cpu")
    assert told["level"] == plain["level"]
    if plain["use"] == 0:
        pytest.skip("this machine has no wall around files")
    assert told["use"] == 0
    assert told["ioctl"] == NOT_A_TERMINAL  # asked and answered, not refused
    assert told["told"] == 0
    assert told["change"] in {EACCES, EROFS}
    assert told["other"] in {ENOENT, EACCES}
    assert plain["use"] in {ENOENT, EACCES}
    assert plain["told"] in {ENOENT, EACCES}


def test_a_driver_may_name_its_threads(root, tmp_path):
    """NVIDIA's does, through files, and gives up where it cannot: "OS call failed"."""
    assert shut_in(root, tmp_path / "with", "gpu")["name"] == 0
    plain = shut_in(root, tmp_path / "without", "cpu")
    if plain["use"] == 0:
        pytest.skip("this machine has no wall around files")
    assert plain["name"] in {EACCES, EROFS}


def test_shared_memory_is_for_drivers_alone_and_counts(root, tmp_path):
    told = shut_in(root, tmp_path / "with", "gpu")
    plain = shut_in(root, tmp_path / "without", "cpu")
    assert told["share"] == 0
    assert told["excess"] is True
    assert plain["share"] == EPERM
