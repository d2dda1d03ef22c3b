"""What things of a fine-tuning job are called.

OpenAI calls a fine-tuned model `ft:<base>:<organisation>:<suffix>:<id>`. Names of models and
deployments stand in URLs, labels and file names here, so they have no colons, and no capitals: the
new model is `ft-<base>-<suffix>-<id>`, the same for the chat door, the catalogue and the command
line. The tenant is not part of it: no other tenant sees the name.
"""

from __future__ import annotations

import re

from modelry.domain.errors import InvalidInput, NotFound

MAX_SUFFIX_CHARS = 40
_MAX_CHARS = 64
_OTHERS = re.compile(r"[^a-z0-9._-]+")
_JOB, _FINE_TUNING, _RESULTS = "job-", "ftjob-", "file-results-"


def fine_tuning_id(job_id: str) -> str:
    """What OpenAI's door calls a job."""
    return _FINE_TUNING + job_id.removeprefix(_JOB)


def job_id_of(fine_tuning_job_id: str) -> str:
    """The job that OpenAI's door calls so.

    Raises:
        NotFound: no job is called so.
    """
    if not fine_tuning_job_id.startswith(_FINE_TUNING):
        raise no_job(fine_tuning_job_id)
    return _JOB + fine_tuning_job_id.removeprefix(_FINE_TUNING)


def no_job(fine_tuning_job_id: str) -> NotFound:
    """What is told of a job that is not there."""
    return NotFound(
        f"Could not find fine-tuning job: '{fine_tuning_job_id[:80]}'.", param="fine_tuning_job_id"
    )


def results_file_id(job_id: str) -> str:
    """The file with what a job measured."""
    return _RESULTS + job_id.removeprefix(_JOB)


def clean_suffix(suffix: str) -> str:
    """A suffix as it stands in a name: small letters, digits, `.`, `_` and `-`.

    Raises:
        InvalidInput: nothing of it can stand in a name, or it is too long.
    """
    found = _OTHERS.sub("-", suffix.lower()).strip("._-")
    if (suffix and not found) or len(found) > MAX_SUFFIX_CHARS:
        raise InvalidInput(
            f"'suffix' is {suffix[:80]!r}; expected up to {MAX_SUFFIX_CHARS} letters, digits, '.', "
            "'_' or '-': it becomes part of the model's name.",
            param="suffix",
        )
    return found


def model_name(base: str, suffix: str, job_id: str) -> str:
    """The name of the model that a job makes; a long name of the base is shortened in it.

    Args:
        base: the model that is trained further.
        suffix: as the caller gave it.
        job_id: makes the name unique.
    """
    own = "-".join(part for part in (clean_suffix(suffix), job_id.removeprefix(_JOB)) if part)
    # a model that was fine-tuned before keeps one prefix
    stem = base.removeprefix("ft-")[: _MAX_CHARS - len("ft--") - len(own)].rstrip("._-")
    return f"ft-{stem}-{own}"
