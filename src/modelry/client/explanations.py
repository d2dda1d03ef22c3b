"""Explanations of datasets for code that waits."""

from __future__ import annotations

from modelry.client.jobs import giving_job
from modelry.client.methods import SyncResource, blocking
from modelry.client.operations import dataset_explanations as operations


class Explanations(SyncResource):
    """What versions decide by, over the rows of datasets."""

    start = giving_job(operations.explain_dataset)
    get = blocking(operations.get_explanation)
    rows = blocking(operations.explained_rows)
    list = blocking(operations.list_explanations)
    delete = blocking(operations.delete_explanation)
