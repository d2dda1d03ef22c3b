"""The folders of workers, as the gateway looks after them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from modelry.adapters.processes import scratch
from modelry.adapters.processes.scratch import clear_left_behind, make_scratch, room_for


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(scratch, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_that_is_in_use_stays_and_one_left_behind_goes(place):
    kept = make_scratch(room_for([]))
    code = (
        "from pathlib import Path; from modelry.adapters.processes import scratch; import os, sys;"
        "scratch._SHARED_MEMORY = Path(sys.argv[1]); print(scratch.make_scratch(2**26).folder,"
        " flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True, check=False
    )
    left = Path(done.stdout.strip())
    (left / "file").write_text("left")
    clear_left_behind()
    assert kept.folder.is_dir()
    assert not left.exists()
    kept.remove()
    assert not kept.folder.exists()


def test_what_looks_like_one_and_is_a_link_stays(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").touch()
    (place / "modelry-worker-link").symlink_to(elsewhere)
    clear_left_behind()
    assert (elsewhere / "precious").exists()


def test_too_much_in_it_is_noticed(monkeypatch):
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", 2**20)
    made = make_scratch(room_for([]))
    assert not made.is_overfull()
    (made.folder / "a").write_bytes(os.urandom(2**19))
    assert not made.is_overfull()
    (made.folder / "b").write_bytes(os.urandom(2**20))
    assert made.is_overfull()
    (made.folder / "b").unlink()
    monkeypatch.setattr(scratch, "MOST_ENTRIES", 5)
    for number in range(6):
        (made.folder / f"empty-{number}").touch()
    assert made.is_overfull()
    made.remove()
