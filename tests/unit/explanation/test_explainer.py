"""Which way an explanation is made for a caller who waits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from modelry.domain.errors import NotSupported
from modelry.explaining.asked import Asked
from modelry.explaining.contract import Wish
from modelry.services.explanation.explainer import Explainer
from modelry.testing import samples

ME = samples.principal()
TARGET: Any = SimpleNamespace()
GRADIENTS, OTHERS = Wish(method="grad-cam"), Wish(method="occlusion")


class Worker:
    async def explain(self, *asked: Any, on_progress: Any) -> Any:
        return ("worker", asked, on_progress)


class Processes:
    def __init__(self) -> None:
        self.checked: list[str] = []

    def check(self, principal: Any, target: Any, method: str) -> None:
        self.checked.append(method)

    async def explain(self, principal: Any, target: Any, asked: Asked, on_progress: Any) -> Any:
        return ("process", asked, on_progress)


def test_gradients_are_for_processes_and_all_else_for_the_worker() -> None:
    worker, processes = Worker(), Processes()
    explainer = Explainer(worker, processes)  # type: ignore[arg-type] # as far as needed
    for wish in (GRADIENTS, OTHERS):
        assert explainer.can_wait_for(wish)
        explainer.check(ME, TARGET, wish)
    assert processes.checked == ["grad-cam"]

    async def run() -> None:
        found: Any = await explainer.explain(ME, TARGET, {"image": b""}, {"top_k": 1}, GRADIENTS)
        assert found == ("process", Asked({"image": b""}, {"top_k": 1}, GRADIENTS), None)
        found = await explainer.explain(ME, TARGET, {"image": b""}, {}, OTHERS, on_progress=print)
        assert found == ("worker", (ME, TARGET, {"image": b""}, {}, OTHERS), print)

    asyncio.run(run())


def test_a_server_that_leaves_jobs_to_others_starts_no_process() -> None:
    explainer = Explainer(Worker())  # type: ignore[arg-type] # as far as needed
    assert not explainer.can_wait_for(GRADIENTS)
    assert explainer.can_wait_for(OTHERS)
    explainer.check(ME, TARGET, OTHERS)
    with pytest.raises(NotSupported, match="ask for it at POST /v1/explanations"):
        explainer.check(ME, TARGET, GRADIENTS)
