"""Curves in OpenAI's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")

_NAMES = {
    "loss": "train_loss",
    "accuracy": "train_mean_token_accuracy",
    "token_accuracy": "train_mean_token_accuracy",
    "validation_loss": "full_valid_loss",
    "validation_accuracy": "full_valid_mean_token_accuracy",
    "validation_token_accuracy": "full_valid_mean_token_accuracy",
}


def openai_names(values: Mapping[str, V]) -> dict[str, V]:
    """Values under the names that OpenAI has for them; others keep their own.

    All of the validation rows are measured after each epoch, which OpenAI calls `full_valid_...`.
    """
    return {_NAMES.get(name, name): value for name, value in values.items()}
