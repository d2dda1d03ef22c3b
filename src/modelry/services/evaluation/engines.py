"""The engine of a version, for a thread that measures it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import DeadlineExceeded
from modelry.explaining.contract import Wish
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.services.evaluation.ports import Predictions, PrivateEngines
from modelry.services.inference.routing import Target
from modelry.services.jobs.loop_calls import LoopCaller

log = logging.getLogger(__name__)

T = TypeVar("T")

LOAD_S = 1800.0
"""How long a version may take to be loaded; its deployment's own limit is shorter as a rule."""
END_S = 60.0
"""How long its process may take to end before it is left to the server's own looking after."""


class OpenEngine(Protocol):
    """A loaded version; every method blocks."""

    def predict(
        self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], Mapping[str, Array], float]:
        """Results, arrays, and the seconds that it took."""
        ...

    def infer(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], float]:
        """Output tensors, and the seconds that it took."""
        ...

    def explain(self, item: Mapping[str, Any], wish: Mapping[str, Any]) -> dict[str, Any]:
        """Why an item is answered as it is, as the typed door tells it.

        Args:
            item: as the task describes it.
            wish: as `Wish.to_wire` gives it.
        """
        ...


class EngineLoader:
    """Loads versions in worker processes, as deployments do, for threads.

    Args:
        engines: starts replicas; runs on the event loop.
        predictions: asks them; likewise.
        loop: gives the event loop, once it runs.
    """

    def __init__(
        self,
        engines: PrivateEngines,
        predictions: Predictions,
        loop: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self._engines = engines
        self._predictions = predictions
        self._loop = loop

    @contextmanager
    def loaded(
        self, principal: Principal, version: Version, stop: StopSignal, niceness: int = 0
    ) -> Iterator[OpenEngine]:
        """The engine of `version`, which ends with this context.

        Args:
            principal: in whose name it is asked.
            version: what to load.
            stop: ends the loading, and every question.
            niceness: how far it stands back behind engines that serve, 0 to 19.

        Raises:
            ModelFailed: it cannot be loaded.
            DeadlineExceeded: it was not loaded in time.
            Cancelled: `stop` was raised.
        """
        caller = LoopCaller(self._loop(), stop)
        context = self._engines.privately(version, niceness)
        target = caller.result(
            context.__aenter__(), f"the loading of {version.ref}", timeout_s=LOAD_S
        )
        try:
            yield _Engine(caller, self._predictions, principal, target)
        finally:
            try:
                caller.finish(context.__aexit__(None, None, None), END_S)
            except DeadlineExceeded:
                log.warning("the engine of %s takes long to end; it is left to end", version.ref)


class _Engine:
    def __init__(
        self,
        caller: LoopCaller,
        predictions: Predictions,
        principal: Principal,
        target: Target,
    ) -> None:
        self._caller = caller
        self._predictions = predictions
        self._principal = principal
        self._target = target

    def predict(
        self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], Mapping[str, Array], float]:
        """See `OpenEngine.predict`."""
        found, seconds = self._answered(
            lambda: self._predictions.predict(self._principal, self._target, items, options)
        )
        return found.items, found.arrays, seconds

    def infer(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], float]:
        """See `OpenEngine.infer`."""
        found, seconds = self._answered(
            lambda: self._predictions.infer(self._principal, self._target, inputs)
        )
        return found.outputs, seconds

    def explain(self, item: Mapping[str, Any], wish: Mapping[str, Any]) -> dict[str, Any]:
        """See `OpenEngine.explain`."""
        wished = Wish.from_wire(wish)
        found, _ = self._answered(
            lambda: self._predictions.explain(self._principal, self._target, item, {}, wished)
        )
        return found.told

    def _answered(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
        """An answer, and how long it took: limits of the caller's rate slow the job down, and
        waiting for them is not counted.
        """
        started = 0.0

        def asked() -> Coroutine[Any, Any, T]:
            nonlocal started
            started = time.perf_counter()
            return ask()

        answer = self._caller.when_allowed(asked, "an evaluation")
        return answer, time.perf_counter() - started
