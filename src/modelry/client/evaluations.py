"""Evaluations for code that waits."""

from __future__ import annotations

from collections.abc import Sequence

from modelry.client.jobs import Job
from modelry.client.methods import SyncResource, blocking
from modelry.client.operations import evaluations as operations


class Evaluations(SyncResource):
    """How good versions are."""

    get = blocking(operations.get_evaluation)
    list = blocking(operations.list_evaluations)
    delete = blocking(operations.delete_evaluation)
    compare = blocking(operations.compare)
    card = blocking(operations.model_card)

    def start(
        self,
        version: str,
        dataset: str,
        *,
        split: str | None = None,
        slices: Sequence[str] = (),
        batch_rows: int | None = None,
    ) -> Job:
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
        return Job(self._transport, self._transport.run(flow))
