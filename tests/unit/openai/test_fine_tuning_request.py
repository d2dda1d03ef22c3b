"""What a request for a fine-tuning job may say."""

from __future__ import annotations

from typing import Any

import pytest

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.openai.fine_tuning_request import parse_job

LEAST: dict[str, Any] = {"model": "base", "training_file": "file-1"}


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def test_the_least_that_is_needed() -> None:
    wanted = parse_job(LEAST)
    assert (wanted.model, wanted.training_file, wanted.validation_file) == ("base", "file-1", None)
    assert wanted.n_epochs is wanted.batch_size is wanted.learning_rate_multiplier is None
    assert wanted.metadata is None
    assert parse_job(LEAST).seed != wanted.seed, "a seed is drawn"


def test_everything() -> None:
    wanted = parse_job(
        {
            **LEAST,
            "validation_file": "file-2",
            "method": supervised(n_epochs=3, batch_size="auto", learning_rate_multiplier=0.5),
            "seed": 0,
            "suffix": "Mine",
            "metadata": {"for": "tests"},
            "parameters": {"rank": 4},
            "integrations": [],
        }
    )
    assert (wanted.n_epochs, wanted.batch_size, wanted.learning_rate_multiplier) == (3, None, 0.5)
    assert (wanted.seed, wanted.suffix, wanted.metadata) == (0, "Mine", {"for": "tests"})
    assert wanted.parameters == {"rank": 4}


def test_hyperparameters_at_their_older_place() -> None:
    assert parse_job({**LEAST, "hyperparameters": {"n_epochs": 2}}).n_epochs == 2
    with pytest.raises(InvalidInput, match="older place") as caught:
        parse_job({**LEAST, "hyperparameters": {"n_epochs": 2}, "method": supervised(n_epochs=2)})
    assert caught.value.param == "hyperparameters"


HYPERPARAMETERS = "method.supervised.hyperparameters"


@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"model": None}, InvalidInput, "model"),
        ({"model": 3}, InvalidInput, "model"),
        ({"training_file": None}, InvalidInput, "training_file"),
        ({"validation_file": ["file-2"]}, InvalidInput, "validation_file"),
        ({"seed": -1}, InvalidInput, "seed"),
        ({"seed": 1.5}, InvalidInput, "seed"),
        ({"suffix": "x" * 65}, InvalidInput, "suffix"),
        ({"metadata": ["a"]}, InvalidInput, "metadata"),
        ({"metadata": {"a": 1}}, InvalidInput, "metadata"),
        ({"metadata": {"a": "x" * 513}}, InvalidInput, "metadata"),
        ({"metadata": {str(at): "" for at in range(17)}}, InvalidInput, "metadata"),
        ({"integrations": [{"type": "wandb"}]}, UnsupportedField, "integrations"),
        ({"colour": "red"}, UnsupportedField, "colour"),
        ({"parameters": [1]}, InvalidInput, "parameters"),
        ({"method": "supervised"}, InvalidInput, "method"),
        ({"method": {"type": "dpo"}}, UnsupportedField, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, UnsupportedField, "method.dpo"),
        ({"method": {"type": "supervised", "x": 1}}, UnsupportedField, "method.x"),
        ({"method": {"supervised": {}}}, UnsupportedField, "method.type"),
        ({"method": supervised(n_epochs=0)}, InvalidInput, f"{HYPERPARAMETERS}.n_epochs"),
        ({"method": supervised(n_epochs=True)}, InvalidInput, f"{HYPERPARAMETERS}.n_epochs"),
        ({"method": supervised(batch_size="all")}, InvalidInput, f"{HYPERPARAMETERS}.batch_size"),
        ({"method": supervised(beta=0.1)}, UnsupportedField, f"{HYPERPARAMETERS}.beta"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            InvalidInput,
            "hyperparameters.learning_rate_multiplier",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(
    changes: dict[str, Any], error: type[InvalidInput], param: str
) -> None:
    with pytest.raises(error) as caught:
        parse_job({**LEAST, **changes})
    assert caught.value.param == param
