"""The JSON shapes that all assessments of versions have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from modelry.domain import assessments as domain
from modelry.protocols.management.shapes import Answer, Body, Name, ShortText

Reference = Annotated[str, Field(min_length=1, max_length=129)]


class Assessment(Answer):
    """What was found of a version on one split of a dataset."""

    version: str
    version_digest: str
    dataset: str
    dataset_digest: str
    split: str
    rows: int
    job_id: str
    created_at: datetime
    created_by: str


class LookInto(Body):
    """Which version is looked at on which rows.

    `split` is by default `test`, else `validation`, else the only one. `slices` are columns by
    whose values what is found is told apart.
    """

    version: Reference
    dataset: Reference
    split: Name | None = None
    slices: Annotated[list[ShortText] | None, Field(max_length=8)] = None


def fields_of(one: domain.Assessment) -> dict[str, Any]:
    """The fields of the shape of `one`."""
    names = [name for name in Assessment.model_fields if name != "version"]
    return {"version": one.version_ref, **{name: getattr(one, name) for name in names}}
