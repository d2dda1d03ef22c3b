"""The engine of a version, for a thread that measures it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import Cancelled
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import Array
from modelry.services.evaluation.ports import Predictions, PrivateEngines
from modelry.services.inference.routing import Target

T = TypeVar("T")
_LOOK_S = 0.2


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
        self, principal: Principal, version: Version, stop: StopSignal
    ) -> Iterator[OpenEngine]:
        """The engine of `version`, which ends with this context.

        Raises:
            ModelFailed: it cannot be loaded.
            Cancelled: `stop` was raised.
        """
        caller = _LoopCaller(self._loop(), stop)
        context = self._engines.privately(version)
        target = caller.result(context.__aenter__())
        try:
            yield _Engine(caller, self._predictions, principal, target)
        finally:
            asyncio.run_coroutine_threadsafe(
                context.__aexit__(None, None, None), self._loop()
            ).result()


class _LoopCaller:
    def __init__(self, loop: asyncio.AbstractEventLoop, stop: StopSignal) -> None:
        self._loop = loop
        self._stop = stop

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives on the event loop; it is cancelled with this job."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            if self._stop.is_set():
                future.cancel()
                raise Cancelled("The evaluation was stopped.")
            try:
                return future.result(_LOOK_S)
            except FutureTimeout:
                if future.done():  # just then, or `work` itself ran out of time
                    return future.result()


class _Engine:
    def __init__(
        self, caller: _LoopCaller, predictions: Predictions, principal: Principal, target: Target
    ) -> None:
        self._caller = caller
        self._predictions = predictions
        self._principal = principal
        self._target = target

    def predict(
        self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], Mapping[str, Array], float]:
        """See `OpenEngine.predict`."""
        started = time.perf_counter()
        found = self._caller.result(
            self._predictions.predict(self._principal, self._target, items, options)
        )
        return found.items, found.arrays, time.perf_counter() - started

    def infer(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], float]:
        """See `OpenEngine.infer`."""
        started = time.perf_counter()
        found = self._caller.result(self._predictions.infer(self._principal, self._target, inputs))
        return found.outputs, time.perf_counter() - started
