"""Evaluations for code that runs on an event loop."""

from __future__ import annotations

from collections.abc import Sequence

from modelry.client.async_jobs import AsyncJob
from modelry.client.methods import AsyncResource, awaitable
from modelry.client.operations import evaluations as operations


class AsyncEvaluations(AsyncResource):
    """How good versions are."""

    get = awaitable(operations.get_evaluation)
    list = awaitable(operations.list_evaluations)
    delete = awaitable(operations.delete_evaluation)
    compare = awaitable(operations.compare)
    card = awaitable(operations.model_card)

    async def start(
        self,
        version: str,
        dataset: str,
        *,
        split: str | None = None,
        slices: Sequence[str] = (),
        batch_rows: int | None = None,
    ) -> AsyncJob:
        """Queue a job that measures a version on a dataset, through the engine that serves it.

        Its outcome has the metrics and the evaluation's id, which is the job's.

        Args:
            version: `name`, `name@3` or `name@alias`.
            dataset: `name` or `name@3`.
            split: by default `test`, else `validation`, else the only one.
            slices: columns by whose values the metrics are told apart.
            batch_rows: how many rows are asked at once.

        Raises:
            InvalidInput: the dataset lacks what the version's task needs.
            NotFound: version, dataset or split are not there.
        """
        flow = operations.evaluate(
            version, dataset, split=split, slices=slices, batch_rows=batch_rows
        )
        return AsyncJob(self._transport, await self._transport.run(flow))
