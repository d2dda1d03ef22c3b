"""How a job gets the version that another one makes.

A kind that works on a version takes `version` (a reference), or `version_of`: the id of a job that
makes one. A job with `version_of` comes after that job by itself.
"""

from __future__ import annotations

from typing import Any

from modelry.domain.errors import InvalidInput
from modelry.services.jobs.handlers import JobRun, Json

VERSION, VERSION_OF = "version", "version_of"


def maker_of(parameters: Json) -> str:
    """The id of the job whose version is meant; empty where none is."""
    found = parameters.get(VERSION_OF)
    return found if isinstance(found, str) else ""


def check_one_is_named(parameters: Json) -> str | None:
    """The reference that is given; None when it is the version of another job.

    Raises:
        InvalidInput: neither or both are given, or not as texts.
    """
    reference, maker = parameters.get(VERSION), parameters.get(VERSION_OF)
    if (reference is None) == (maker is None):
        raise InvalidInput(
            "Give 'version', such as name@3, or 'version_of', the id of the job that makes it"
            f"{'; not both.' if reference is not None else '.'}",
            param=VERSION,
        )
    name, value = (VERSION, reference) if maker is None else (VERSION_OF, maker)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise InvalidInput(f"'{name}' is {str(value)[:80]!r}; expected a text.", param=name)
    return reference


def version_meant(run: JobRun) -> str:
    """The reference of the version that a job works on.

    Raises:
        InvalidInput: the job that should make it made none.
    """
    maker = maker_of(run.parameters)
    if not maker:
        return str(run.parameters[VERSION])
    outcome: Any = run.inputs.get(maker, {})
    found = outcome.get(VERSION)
    if not isinstance(found, str):
        raise InvalidInput(f"Job '{maker[:80]}' made no version.", param=VERSION_OF)
    return found
