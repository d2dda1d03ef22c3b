"""What a process used is counted in less than the ticks of the kernel's clock."""

from __future__ import annotations

import subprocess
import sys

from modelry.adapters.processes.compute import ProcessMeter

TWICE = """
import sys, time
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
work(0.002)
print(time.process_time(), flush=True)
sys.stdin.readline()
work(0.003)
print(time.process_time(), flush=True)
sys.stdin.readline()
"""


def test_a_few_milliseconds_are_told_and_stay_after_the_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TWICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        meter = ProcessMeter(process.pid)
        first_s = float(process.stdout.readline())
        told = meter.more().cpu_us
        assert told >= first_s * 1e6
        process.stdin.write("\n")
        process.stdin.flush()
        later_s = float(process.stdout.readline())
        more = meter.more().cpu_us
        assert more >= 3000
        assert told + more >= later_s * 1e6
        process.stdin.write("\n")
        process.stdin.flush()
        assert meter.await_end(10)
        assert told + more + meter.more().cpu_us >= later_s * 1e6
    assert meter.more().cpu_us == 0
