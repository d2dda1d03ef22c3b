"""Which versions `image-classification` begins from; importable without a framework."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from modelry.domain.errors import InvalidInput
from modelry.training.contract import BaseVersion

if TYPE_CHECKING:
    from modelry.training.recipes.image_classification import ImageClassificationParameters

TASK = "image-classification"
BACKBONE = "backbone"
MODEL_ROLE = "model"
_OWN_STEPS = ("image_size", "colours")
"""Parameters that say what a base version says itself."""


def check_base(
    base: BaseVersion | None,
    files: Collection[str],
    parameters: ImageClassificationParameters,
) -> None:
    """See that parameters and base fit each other.

    Raises:
        InvalidInput: they do not; says what is expected.
    """
    if parameters.network != BACKBONE:
        if base is not None or files:
            raise InvalidInput(
                f"'network' is '{parameters.network}', which begins from nothing; to train the "
                f"base version further set it to '{BACKBONE}'.",
                param="network",
            )
        return
    if base is None:
        raise InvalidInput(
            "'network' is 'backbone', and there is no base version. Name a registered version with "
            "'base', such as 'efficientnet@1'; a file alone will not do: its 'pre' steps say what "
            "the network sees of an image.",
            param="base",
        )
    _check_version(base)
    _check_parameters(parameters)


def steps_before(base: BaseVersion) -> list[dict[str, Any]]:
    """The steps with which the base sees images: the new version has the same."""
    return [dict(step) for step in base.manifest["pre"]]


def scored_output(base: BaseVersion) -> str | None:
    """The output that scores its classes; None when it has one alone."""
    post: list[Mapping[str, Any]] = list(base.manifest.get("post") or [])
    for step in post:
        if step.get("step") == "output":
            return str(step["name"])
    return None


def _check_version(base: BaseVersion) -> None:
    task, kind = base.manifest["task"], base.manifest["format"]
    if task != TASK:
        raise InvalidInput(
            f"The base version {base.ref} has the task '{task}'; expected one of '{TASK}'. A model "
            "that gives features of images can be registered under that task, too.",
            param="base",
        )
    if kind != "onnx":
        raise InvalidInput(
            f"The base version {base.ref} is of the format '{kind}'; expected 'onnx'.",
            param="base",
        )
    if not base.manifest.get("pre"):
        raise InvalidInput(
            f"The base version {base.ref} has no 'pre' steps, so that it is not known what it sees "
            "of an image; register it with some.",
            param="base",
        )


def _check_parameters(parameters: ImageClassificationParameters) -> None:
    for name in _OWN_STEPS:
        if getattr(parameters, name) != type(parameters).model_fields[name].default:
            raise InvalidInput(
                f"'{name}' is set, and 'network' is '{BACKBONE}': what the network sees is said by "
                "the steps of the base version. Leave it out.",
                param=name,
            )
    if parameters.unfreeze and parameters.head_epochs >= parameters.epochs:
        raise InvalidInput(
            f"'head_epochs' is {parameters.head_epochs} and 'epochs' is {parameters.epochs}: the "
            f"{parameters.unfreeze} blocks to 'unfreeze' would never learn. Choose more 'epochs', "
            "or fewer 'head_epochs'.",
            param="head_epochs",
        )
