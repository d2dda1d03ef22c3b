"""The environment of workers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_KEPT_ENVIRONMENT = re.compile(
    r"PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|PYTHONPATH|PYTHONHASHSEED|VIRTUAL_ENV"
    r"|OMP_\w+|GOMP_\w+|MKL_\w+|OV_\w+|CUDA_\w+"
)


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
