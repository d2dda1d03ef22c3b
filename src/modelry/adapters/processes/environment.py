"""The environment of workers and of processes of work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from modelry.runtime_api.work import WorkLimits

_KEPT_ENVIRONMENT = re.compile(
    r"PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|PYTHONPATH|PYTHONHASHSEED|VIRTUAL_ENV"
    r"|OMP_\w+|GOMP_\w+|MKL_\w+|OV_\w+|CUDA_\w+"
)
_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_FRAMEWORKS = {
    "KERAS_BACKEND": "torch",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # the same sums in the same order, on a GPU as well
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "USER": "modelry",  # libraries ask who they are, and the user of a sandbox has no name
}


def worker_environment(
    environment: Mapping[str, str], scratch: Path | None = None
) -> dict[str, str]:
    """The few variables that a worker needs; no key or secret of the gateway gets through.

    Args:
        environment: the gateway's.
        scratch: the folder that the worker may write to.
    """
    kept = {name: value for name, value in environment.items() if _KEPT_ENVIRONMENT.fullmatch(name)}
    own = {} if scratch is None else {"HOME": str(scratch), "TMPDIR": str(scratch)}
    return {"PYTHONUNBUFFERED": "1", **kept, **own}


def work_environment(
    environment: Mapping[str, str], scratch: Path, limits: WorkLimits
) -> dict[str, str]:
    """The same for a process of work, which computes as `limits` say."""
    threads = limits.threads
    counts = {} if threads is None else dict.fromkeys(_THREAD_COUNTS, str(threads))
    waiting = {"OMP_WAIT_POLICY": "passive"} if limits.threads_sleep else {}
    return {**worker_environment(environment, scratch), **_FRAMEWORKS, **counts, **waiting}
