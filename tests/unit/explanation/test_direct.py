"""Explanations by gradients that somebody waits for: whose they are, and how they end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from modelry.domain.access import Principal, Role, TenantState
from modelry.domain.errors import (
    BudgetExceeded,
    Cancelled,
    DeadlineExceeded,
    ModelNotReady,
    NotSupported,
    PermissionDenied,
    TenantSuspended,
    WorkFailed,
)
from modelry.domain.quotas import QuotaLimits
from modelry.domain.usage import CPU, Origin
from modelry.explaining.asked import Asked
from modelry.explaining.contract import Wish
from modelry.explaining.course import Progress
from modelry.gradients.contract import ASKED, INFER, MEASURE
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import Json, WorkHost, WorkLimits
from modelry.services.explanation.direct import Calculating, DirectExplanations
from modelry.services.inference.metering import Meter, OpenRequest, open_request
from modelry.services.quotas.accounts import Accounts
from modelry.testing import samples
from modelry.testing.work import ThreadWorks

ME = samples.principal()
OTHER = replace(ME, tenant_id="other", key_id="key-2")
VERSION = replace(
    samples.version(), task="text-classification", manifest={"format": "onnx", "pre": []}
)
ORIGIN = Origin("default", "spam", "spam", VERSION.number, VERSION.task)
GRADIENTS = Asked({"text": "a"}, {}, Wish(method="integrated-gradients"))
UNCHECKED = replace(GRADIENTS, wish=replace(GRADIENTS.wish, checks=False))


class Inference:
    """A data plane with one deployment, which doubles tensors."""

    def __init__(self) -> None:
        limits = QuotaLimits(explanations_per_day=2)
        self.accounts, self.meter = Accounts(key_defaults=limits), Meter()
        self.authenticator = SimpleNamespace(tenants={"default": TenantState.ACTIVE})
        self.asked_for: list[Any] = []

    async def infer(self, principal: Principal, target: Any, inputs: Any) -> Any:
        self.asked_for.append((principal, open_request.get()))
        return SimpleNamespace(outputs={"y": inputs["x"] * 2})

    async def explain(self, principal: Any, target: Any, *asked: Any, on_progress: Any) -> Any:
        assert asked[2].given == (0.5, 2.0)
        if on_progress is not None:
            on_progress(Progress("explaining", 7, 40))
        told = {"faithfulness": {"is": "there"}, "cost": {"model_calls": 40}}
        return SimpleNamespace(told=told)


def target(deadline_s: float = 60.0, tenant_id: str = "default") -> Any:
    return SimpleNamespace(
        deployment=SimpleNamespace(name="spam", tenant_id=tenant_id, created_at=samples.NOW),
        version=replace(VERSION, tenant_id=tenant_id),
        group=SimpleNamespace(origin=ORIGIN, limits=SimpleNamespace(deadline_s=deadline_s)),
    )


class Following:
    """Work that asks once, has measured what shall be, and tells what it got."""

    name: ClassVar[str] = "explain-one"

    def run(self, host: WorkHost) -> Json:
        asked = Asked.from_bytes(host.ask(ASKED, {}).body)
        entries, parts = pack_tensors({"x": np.array([[3.0]], "f4")})
        answer = host.ask(INFER, {"inputs": entries}, b"".join(parts))
        host.progress(1, None, "model calls")
        measured = None
        if asked.wish.checks:
            measured = host.ask(MEASURE, {"weights": [0.5, 2], "target": 1}).header["faithfulness"]
            host.progress(41, None, "model calls")
        found = unpack_tensors(answer.header["arrays"], answer.body)["y"].tolist()
        told = {"of": asked.item["text"], "found": found, "faithfulness": measured}
        return {**told, "picture": "cG5n", "usage": {"model_calls": 41}}


class Endless:
    """Work that ends when it is stopped, and tells how many do it at once."""

    name: ClassVar[str] = "explain-one"

    def __init__(self) -> None:
        self.running = self.most = 0
        self.let_go = threading.Event()
        self._lock = threading.Lock()

    def run(self, host: WorkHost) -> Json:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            while not self.let_go.is_set():
                if host.stop.is_set():
                    raise Cancelled("stopped")
                time.sleep(0.005)
        finally:
            with self._lock:
                self.running -= 1
        return {"usage": {}}


class Broken:
    name: ClassVar[str] = "explain-one"

    def run(self, host: WorkHost) -> Json:
        raise WorkFailed("The process ended.")


class Kit:
    def __init__(self, work: Any = None, most: int = 2) -> None:
        self.inference = Inference()
        calculating = Calculating(
            self.inference,  # type: ignore[arg-type] # as far as it is needed
            None,  # type: ignore[arg-type] # no files are asked for
            ThreadWorks(work or Following()),
            WorkLimits(),
        )
        self.explanations = DirectExplanations(calculating, most)

    def begun(self, principal: Principal = ME, **more: Any) -> asyncio.Task[Any]:
        asked = self.explanations.explain(principal, target(**more), GRADIENTS)
        return asyncio.create_task(asked)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0.005)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_the_engine_is_asked_in_the_name_of_who_waits_as_part_of_the_request() -> None:
    kit = Kit()
    far: list[Progress] = []

    async def ask() -> None:
        with OpenRequest(kit.inference.meter, "req-1") as request:
            request.principal, request.origin = ME, ORIGIN
            found = await kit.explanations.explain(ME, target(), GRADIENTS, far.append)
            assert (found.told["of"], found.told["found"]) == ("a", [[6.0]])
            assert found.told["faithfulness"] == {"is": "there"}
            assert (found.picture, found.usage) == (b"png", {"model_calls": 41})
            assert kit.inference.asked_for == [(ME, request)]
        await kit.until(lambda: not kit.explanations.calculating)

    run(ask())
    assert far == [Progress("explaining", 1, None), Progress("checking", 7, 40)]
    used, processes = sorted(kit.inference.meter.take().series, key=lambda one: len(one.units))[:2]
    both = {one.key.origin.deployment: one for one in (used, processes)}
    assert set(both) == {"spam", "(explain-one)"}
    (units,) = [units for _, units in both["(explain-one)"].units]
    assert units is not None
    assert units.keys() == {CPU}
    assert both["(explain-one)"].engine_us[0] > 0
    assert both["(explain-one)"].key.key_id == ME.key_id


def test_what_no_worker_measures_counts_as_one_explanation_of_the_request() -> None:
    kit = Kit()

    async def ask() -> None:
        for name in ("req-1", "req-2"):
            with OpenRequest(kit.inference.meter, name) as request:
                request.principal, request.origin = ME, ORIGIN
                await kit.explanations.explain(ME, target(), UNCHECKED)
        for asked in (UNCHECKED, GRADIENTS):
            with pytest.raises(BudgetExceeded, match="may use 2 explanations per day"):
                await kit.explanations.explain(ME, target(), asked)
        assert len(kit.inference.asked_for) == 2
        assert not kit.explanations.calculating

    run(ask())
    series = [one for one in kit.inference.meter.take().series if one.key.origin is ORIGIN]
    assert [units for one in series for _, units in one.units] == [{"explanations": 1}] * 2


def test_a_caller_who_goes_away_ends_it() -> None:
    work = Endless()
    kit = Kit(work)

    async def ask() -> None:
        asked = kit.begun()
        await kit.until(lambda: work.running == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await kit.until(lambda: not kit.explanations.calculating)
        assert work.running == 0

    run(ask())
    (series,) = kit.inference.meter.take().series
    assert (series.key.origin.deployment, series.key.status) == ("(explain-one)", "cancelled")


def test_it_takes_no_longer_than_other_answers_of_the_deployment() -> None:
    work = Endless()
    kit = Kit(work)

    async def ask() -> None:
        with pytest.raises(DeadlineExceeded, match=r'deadline of 0\.05 s\. Ask for a job .*"job"'):
            await kit.begun(deadline_s=0.05)
        await kit.until(lambda: work.running == 0)

    run(ask())


def test_so_many_calculate_at_once_and_a_place_is_kept_until_a_process_has_ended() -> None:
    work = Endless()
    kit = Kit(work)
    kit.inference.authenticator.tenants["other"] = TenantState.ACTIVE

    async def ask() -> None:
        mine = [kit.begun() for _ in range(3)]
        await kit.until(lambda: work.running == 1)
        theirs = asyncio.create_task(
            kit.explanations.explain(OTHER, target(tenant_id="other"), GRADIENTS)
        )
        await kit.until(lambda: work.running == 2)
        mine[0].cancel()
        await asyncio.sleep(0)
        assert kit.explanations.calculating == 2  # it ends, and has its place as long
        work.let_go.set()
        await asyncio.gather(*mine[1:], theirs)
        await kit.until(lambda: not kit.explanations.calculating)

    run(ask())
    assert work.most == 2


def test_the_servers_end_and_a_tenants_suspension_end_it() -> None:
    work = Endless()
    kit = Kit(work)
    kit.inference.authenticator.tenants["other"] = TenantState.ACTIVE

    async def ask() -> None:
        mine = kit.begun()
        theirs = asyncio.create_task(
            kit.explanations.explain(OTHER, target(tenant_id="other"), GRADIENTS)
        )
        await kit.until(lambda: work.running == 2)
        active = kit.inference.authenticator.tenants
        kit.explanations.cut_off_strangers({**active, "other": TenantState.SUSPENDED})
        with pytest.raises(TenantSuspended, match="suspended"):
            await theirs
        assert not mine.done()
        more = [kit.begun() for _ in range(2)]  # one of them waits
        await asyncio.sleep(0.02)
        kit.explanations.cut_off(ModelNotReady("The server stopped."))
        for one in (mine, *more):
            with pytest.raises(ModelNotReady, match="server stopped"):
                await one
        await kit.until(lambda: not kit.explanations.calculating)

    run(ask())


def test_what_the_process_fails_with_is_told() -> None:
    kit = Kit(Broken())

    async def ask() -> None:
        with pytest.raises(WorkFailed, match="process ended"):
            await kit.begun()
        assert not kit.explanations.calculating

    run(ask())


def test_who_may_not_is_refused_before_anything_begins() -> None:
    kit = Kit()

    async def ask() -> None:
        asks_only = samples.principal(Role.INFERENCE)
        with pytest.raises(PermissionDenied, match="jobs:write"):
            await kit.begun(asks_only)
        with pytest.raises(NotSupported, match="belongs to another tenant"):
            await kit.begun(tenant_id="other")

    run(ask())
    assert not kit.inference.asked_for
