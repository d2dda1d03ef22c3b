"""Threads that wait, and are used again."""

from __future__ import annotations

import threading

from modelry.services.explanation.waiting_threads import WaitingThreads


def test_as_many_run_as_are_needed_and_wait_for_more() -> None:
    threads, names, together = WaitingThreads("waits"), set(), threading.Barrier(4, timeout=5)

    def work() -> None:
        names.add(threading.get_ident())
        together.wait()

    def settled() -> bool:
        return threads._free == 3

    for _ in range(3):
        for _ in range(3):
            threads.run(work)
        together.wait()
        for _ in range(1000):
            if settled():
                break
            threading.Event().wait(0.001)
    assert settled()
    assert len(names) == 3
