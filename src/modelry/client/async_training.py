"""Training for code that runs on an event loop."""

from __future__ import annotations

from modelry.client.async_jobs import giving_job
from modelry.client.methods import AsyncResource, awaitable
from modelry.client.operations import training as operations


class AsyncTraining(AsyncResource):
    """Training models on the server, and where trained versions come from."""

    recipes = awaitable(operations.list_recipes)
    start = giving_job(operations.start_training)
    search = giving_job(operations.start_search)
    lineage = awaitable(operations.get_lineage)
    reproduce = giving_job(operations.reproduce_version)
