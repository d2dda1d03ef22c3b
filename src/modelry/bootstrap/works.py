"""How pieces of work run on this server: in which sandbox, and within which limits."""

from __future__ import annotations

import os
from dataclasses import replace

from modelry.adapters.data_folder import DataFolder
from modelry.adapters.processes.works import ProcessWorks
from modelry.runtime_api.work import WorkLimits
from modelry.settings import Settings


def open_works(settings: Settings, folder: DataFolder) -> ProcessWorks:
    """Works that see nothing of the data folder."""
    policy = replace(settings.sandbox, hidden=folder.private)
    return ProcessWorks(policy, niceness=settings.work_niceness)


def work_limits(settings: Settings) -> WorkLimits:
    """What a piece of work that computes may use."""
    return WorkLimits(
        memory_bytes=settings.work_memory_bytes,
        scratch_bytes=settings.work_scratch_bytes,
        threads=settings.work_threads or _cores(),
        gpu=settings.work_gpu,
        is_by_settings=True,
    )


def explanation_limits(settings: Settings) -> WorkLimits:
    """What an explanation by gradients may use: unless settings say how many threads, it leaves a
    core to those that are asked meanwhile. On all cores, even when it stands back, it made a chat
    wait 1.6 times as long for its slowest tokens (measured).
    """
    threads = settings.work_threads or max(1, _cores() - 1)
    return replace(work_limits(settings), threads=threads)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
