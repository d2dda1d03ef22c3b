"""Evaluations for code that waits."""

from __future__ import annotations

from modelry.client.jobs import giving_job
from modelry.client.methods import SyncResource, blocking
from modelry.client.operations import evaluations as operations


class Evaluations(SyncResource):
    """How good versions are."""

    start = giving_job(operations.evaluate)
    get = blocking(operations.get_evaluation)
    list = blocking(operations.list_evaluations)
    delete = blocking(operations.delete_evaluation)
    compare = blocking(operations.compare)
    card = blocking(operations.model_card)
