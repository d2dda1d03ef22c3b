"""Evaluations for code that runs on an event loop."""

from __future__ import annotations

from modelry.client.async_jobs import giving_job
from modelry.client.methods import AsyncResource, awaitable
from modelry.client.operations import evaluations as operations


class AsyncEvaluations(AsyncResource):
    """How good versions are."""

    start = giving_job(operations.evaluate)
    get = awaitable(operations.get_evaluation)
    list = awaitable(operations.list_evaluations)
    delete = awaitable(operations.delete_evaluation)
    compare = awaitable(operations.compare)
    card = awaitable(operations.model_card)
