"""What fine-tuned models and their jobs are called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.catalog import NAME_PATTERN, check_name
from modelry.domain.errors import InvalidInput, NotFound
from modelry.services.finetuning.naming import (
    clean_suffix,
    fine_tuning_id,
    job_id_of,
    model_name,
)

JOB = "job-0123456789ab"


@pytest.mark.parametrize(
    ("base", "suffix", "name"),
    [
        ("smollm2", "", "ft-smollm2-0123456789ab"),
        ("smollm2", "My Spam_v1.0", "ft-smollm2-my-spam_v1.0-0123456789ab"),
        ("ft-smollm2-a", "b", "ft-smollm2-a-b-0123456789ab"),
        ("b" * 64, "s" * 40, f"ft-bbbbbbb-{'s' * 40}-0123456789ab"),
    ],
)
def test_names(base: str, suffix: str, name: str) -> None:
    assert model_name(base, suffix, JOB) == name
    assert check_name(name) == name


@settings(max_examples=40)
@given(
    base=st.from_regex(NAME_PATTERN, fullmatch=True),
    suffix=st.text(alphabet="aZ09._- é", max_size=40),
)
def test_every_name_may_name_a_model(base: str, suffix: str) -> None:
    try:
        name = model_name(base, suffix, JOB)
    except InvalidInput:
        assert not any(one in suffix for one in "aZ09")
        return
    assert check_name(name) == name
    assert name.endswith("0123456789ab")


@pytest.mark.parametrize("suffix", ["x" * 41, "---", "é"])
def test_suffixes_that_cannot_be_part_of_a_name(suffix: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        clean_suffix(suffix)
    assert caught.value.param == "suffix"


def test_ids_lead_to_jobs_and_back() -> None:
    assert fine_tuning_id(JOB) == "ftjob-0123456789ab"
    assert job_id_of("ftjob-0123456789ab") == JOB
    with pytest.raises(NotFound, match="Could not find fine-tuning job"):
        job_id_of(JOB)
