"""Explanations of datasets for code that runs on an event loop."""

from __future__ import annotations

from modelry.client.async_jobs import giving_job
from modelry.client.methods import AsyncResource, awaitable
from modelry.client.operations import dataset_explanations as operations


class AsyncExplanations(AsyncResource):
    """What versions decide by, over the rows of datasets."""

    start = giving_job(operations.explain_dataset)
    get = awaitable(operations.get_explanation)
    rows = awaitable(operations.explained_rows)
    list = awaitable(operations.list_explanations)
    delete = awaitable(operations.delete_explanation)
