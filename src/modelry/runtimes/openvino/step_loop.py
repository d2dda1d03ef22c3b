"""The thread that steps the pipeline; every running generation gets what its step made."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import openvino_genai

from modelry.domain.errors import InvalidInput, ModelFailed
from modelry.runtimes.engine_reasons import tell_reason
from modelry.runtimes.openvino.generation import Generation
from modelry.runtimes.openvino.tokens import as_tensor


class StepLoop:
    """Runs generations together, one token of each per step.

    A step holds the interpreter's lock, so this thread also writes the answers: others would have
    to wait for the next step.
    """

    def __init__(self, pipeline: openvino_genai.ContinuousBatchingPipeline) -> None:
        self._pipeline = pipeline
        self._running: list[Generation] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._request_id = 0
        self._thread = threading.Thread(target=self._loop, name="openvino-steps", daemon=True)
        self._thread.start()

    def run(
        self,
        generation: Generation,
        prompt: list[int],
        configs: Iterable[openvino_genai.GenerationConfig],
    ) -> None:
        """Run `generation` until it has ended, one choice per configuration.

        Raises:
            InvalidInput: the engine does not take a configuration.
            Cancelled, ModelFailed: what ended the generation early.
        """
        for config in configs:
            self._add(generation, prompt, config)
        with self._changed:
            self._running.append(generation)
            self._changed.notify()
        generation.ended.wait()
        if generation.failure is not None:
            raise generation.failure

    def close(self) -> None:
        """End the thread; nothing may be running."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _add(
        self, generation: Generation, prompt: list[int], config: openvino_genai.GenerationConfig
    ) -> None:
        with self._changed:
            self._request_id += 1
            request_id = self._request_id
        try:
            handle = self._pipeline.add_request(request_id, as_tensor(prompt), config)
        except (RuntimeError, TypeError, ValueError) as error:
            generation.cancel()
            raise InvalidInput(
                f"OpenVINO does not take the request: {tell_reason(str(error))}"
            ) from None
        generation.add_choice(handle)

    def _loop(self) -> None:
        while self._wait_for_work():
            failure: ModelFailed | None = None
            try:
                self._pipeline.step()
            except Exception as error:  # noqa: BLE001 - the library may throw anything
                failure = ModelFailed(f"OpenVINO failed: {tell_reason(str(error))}")
            for generation in tuple(self._running):
                if failure is None:
                    generation.take()
                else:
                    generation.fail(failure)
                if generation.is_ended:
                    self._running.remove(generation)
                    generation.ended.set()

    def _wait_for_work(self) -> bool:
        """Whether there is something to step (else the loop is closed)."""
        with self._changed:
            while not self._running and not self._is_closed:
                if self._pipeline.has_non_finished_requests():
                    return True  # a cancelled request gives its memory back in the next step
                self._changed.wait()
            return bool(self._running)
