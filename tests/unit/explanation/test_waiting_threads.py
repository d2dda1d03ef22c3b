"""Threads that wait, and are used again."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

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


def test_what_no_thread_can_be_started_for_is_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, begun = WaitingThreads("waits"), SimpleQueue[str]()
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError):
            threads.run(lambda: begun.put("refused"))
    threads.run(lambda: begun.put("later"))
    assert begun.get(timeout=5) == "later"
    assert begun.empty()


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
