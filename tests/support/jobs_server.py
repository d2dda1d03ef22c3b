"""A real server with one more kind of job, which does as it is told: `python -m` it as you
would `modelry`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from modelry.bootstrap import jobs as wiring
from modelry.domain.access import Principal
from modelry.domain.errors import Cancelled
from modelry.services.jobs.handlers import JobRun

if TYPE_CHECKING:
    from modelry.bootstrap.installation import Installation
    from modelry.services.catalog.contents import Contents


class Counting:
    """Counts to `steps`, with a checkpoint at each `every`; `die_at` kills the server once."""

    kind: ClassVar[str] = "count"

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def check(self, principal: Principal, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Everything is possible."""
        del principal
        return {"steps": 10, "every": 2, "step_s": 0.05, "die_at": None, **parameters}

    def run(self, run: JobRun) -> Mapping[str, Any]:
        """Count; what came before the checkpoint is not counted again."""
        asked = run.parameters
        known = run.checkpoint()
        first = 0 if known is None else known[0]
        run.log(f"from {first}")
        total = sum(one["total"] for one in run.inputs.values())
        for step in range(first + 1, asked["steps"] + 1):
            if run.stop.is_set():
                raise Cancelled("stopped")
            time.sleep(asked["step_s"])
            run.metrics(step, {"square": float(step * step)})
            run.progress(step, asked["steps"], "steps", "counting")
            if step % asked["every"] == 0:
                kept = self._contents.keep(run.principal.tenant_id, [b"%d" % step])
                run.save_checkpoint(step, kept.digest, kept.size_bytes)
            if asked["die_at"] == step and known is None:
                os.kill(os.getpid(), signal.SIGKILL)
        words = b"counted to %d" % asked["steps"]
        kept = self._contents.keep(run.principal.tenant_id, [words])
        run.save_artefact("words.txt", kept.digest, kept.size_bytes)
        return {"total": total + asked["steps"], "from": first}


def _handlers_of(installation: Installation) -> list[Any]:
    return [*_own(installation), Counting(installation.catalog.contents)]


_own = wiring.handlers_of

if __name__ == "__main__":
    wiring.handlers_of = _handlers_of
    wiring.LEASE_S = 6.0  # so that tests need not wait for half a minute

    from modelry.__main__ import main

    main()
