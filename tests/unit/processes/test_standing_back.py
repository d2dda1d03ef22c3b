"""How far work stands back behind others, seen in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, threading
from modelry.sandbox import standing_back
if "old" in sys.argv:
    standing_back._SET_ATTRIBUTES = {}
standing_back.stand_back(int(sys.argv[1]))
def tell():
    print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
thread = threading.Thread(target=tell)
thread.start()
thread.join()
print(*standing_back._AUTOGROUP.read_text().split()[-1:])
"""
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel does not group by session"
)


def seen(*arguments: str, own_session: bool = True) -> list[str]:
    """What a thread of a process that stands back is told: policy, niceness, its session's."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=own_session,
    )
    return done.stdout.split()


def test_it_is_nice_and_so_is_its_session():
    policy, nice, *session = seen("19")
    assert int(policy) in {os.SCHED_BATCH, os.SCHED_IDLE}
    assert nice == "19"
    assert session in (["19"], [])


def test_kernels_without_slices_run_it_when_idle():
    assert seen("5", "old")[0] == str(os.SCHED_IDLE)


def test_a_session_that_others_share_is_left_alone():
    before = Path("/proc/self/autogroup").read_text().split()[-1:]
    assert seen("19", own_session=False)[2:] == before


def test_it_may_stay_where_it_is():
    assert seen("0")[:2] == [str(os.SCHED_OTHER), str(os.getpriority(os.PRIO_PROCESS, 0))]
