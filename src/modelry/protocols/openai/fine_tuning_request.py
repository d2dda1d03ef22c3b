"""A request for a fine-tuning job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import (
    Body,
    check_nesting,
    model_name,
    number,
    refuse_unknown_keys,
    required_text,
    shown,
    text,
    whole,
)
from modelry.protocols.openai.fields import check_fields
from modelry.services.finetuning.order import Wanted, read_wanted
from modelry.services.training.order import MAX_SEED

CREATE = "POST /v1/fine_tuning/jobs"
_HYPERPARAMETERS = frozenset({"n_epochs", "batch_size", "learning_rate_multiplier"})
_METHOD = "method.supervised.hyperparameters"


def parse_job(body: Body) -> Wanted:
    """What the body asks for; a seed is drawn where none is given.

    Raises:
        InvalidInput: a field is missing, or not as expected.
        UnsupportedField: a field or a value that cannot be honoured.
    """
    check_fields(CREATE, body)
    if body.get("integrations"):
        raise UnsupportedField(
            "'integrations' are not supported: curves are the job's events, and its result file.",
            param="integrations",
        )
    parameters = _object(body, "parameters")
    check_nesting(parameters, "parameters", most_levels=4, most_bytes=2**16)
    seed = whole(body, "seed", 0, MAX_SEED)
    return read_wanted(
        {
            "model": model_name(body),
            "training_file": required_text(body, "training_file", most_chars=200),
            "validation_file": text(body, "validation_file", most_chars=200),
            "seed": secrets.randbelow(MAX_SEED) if seed is None else seed,
            "suffix": text(body, "suffix", most_chars=64),
            "metadata": body.get("metadata"),
            "parameters": parameters,
            **_hyperparameters(body),
        }
    )


def _hyperparameters(body: Body) -> dict[str, float | None]:
    """Those that are given; `auto` is as good as nothing."""
    older, method = _object(body, "hyperparameters"), _object(body, "method")
    if method:
        refuse_unknown_keys(
            method, frozenset({"type", "supervised", "dpo", "reinforcement"}), "method"
        )
        kind = method.get("type")
        if kind != "supervised":
            raise UnsupportedField(
                f"method.type is {shown(kind)}; only 'supervised' is supported.",
                param="method.type",
            )
        for other in ("dpo", "reinforcement"):
            if method.get(other) is not None:
                raise UnsupportedField(
                    f"method.{other} is not supported; only method.supervised is.",
                    param=f"method.{other}",
                )
    supervised = _object(method, "supervised", "method.supervised")
    refuse_unknown_keys(supervised, frozenset({"hyperparameters"}), "method.supervised")
    newer = _object(supervised, "hyperparameters", _METHOD)
    if older and newer:
        raise InvalidInput(
            f"'hyperparameters' is the older place of '{_METHOD}'; give one of them.",
            param="hyperparameters",
        )
    where, given = ("hyperparameters", older) if older else (_METHOD, newer)
    refuse_unknown_keys(given, _HYPERPARAMETERS, where)
    chosen = {name: value for name, value in given.items() if value != "auto"}
    try:
        return {
            "n_epochs": whole(chosen, "n_epochs", 1, 100_000),
            "batch_size": whole(chosen, "batch_size", 1, 65_536),
            "learning_rate_multiplier": number(chosen, "learning_rate_multiplier", 1e-6, 1e6),
        }
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{error.message}", param=f"{where}.{error.param}") from None


def _object(body: Body, name: str, param: str | None = None) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        where = param or name
        raise InvalidInput(f"{where} is {shown(value)}; expected an object.", param=where)
    return value
