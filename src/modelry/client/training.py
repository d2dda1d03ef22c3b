"""Training for code that waits."""

from __future__ import annotations

from modelry.client.jobs import giving_job
from modelry.client.methods import SyncResource, blocking
from modelry.client.operations import training as operations


class Training(SyncResource):
    """Training models on the server, and where trained versions come from."""

    recipes = blocking(operations.list_recipes)
    start = giving_job(operations.start_training)
    search = giving_job(operations.start_search)
    lineage = blocking(operations.get_lineage)
    reproduce = giving_job(operations.reproduce_version)
