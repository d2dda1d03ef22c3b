"""What a model's signature and operators tell about the question that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.manifest.document import ManifestDocument
from modelry.manifest.inspect.onnx import MADE_BY
from modelry.tasks.contract import ModelFacts

FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})
INTEGERS = frozenset({Datatype.INT32, Datatype.INT64})
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

_GIVE_PROBABILITIES = frozenset(
    {
        "Softmax",
        "Sigmoid",
        "HardSigmoid",
        "TreeEnsembleClassifier",
        "LinearClassifier",
        "SVMClassifier",
    }
)
_PASS_ON = frozenset(
    {"", "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Transpose", "DequantizeLinear"}
)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The only input of a model, when it takes images; open sizes are None."""

    name: str
    channels: int
    height: int | None
    width: int | None
    layout: Literal["nchw", "nhwc"]
    floating: bool


@dataclass(frozen=True, slots=True)
class ClassScores:
    """An output that scores classes; `count` is None where the file does not say how many."""

    name: str
    count: int | None
    are_probabilities: bool
    why: str


def image_input(signature: Signature) -> ImageInput | None:
    """The image input of a model that has no other input."""
    if len(signature.inputs) != 1:
        return None
    (spec,) = signature.inputs
    if len(spec.shape) != 4 or spec.datatype not in FLOATS | {Datatype.UINT8}:
        return None
    _, second, third, last = spec.shape
    floating = spec.datatype in FLOATS
    if second in (1, 3):
        return ImageInput(spec.name, second, _size(third), _size(last), "nchw", floating)
    if last in (1, 3):
        return ImageInput(spec.name, last, _size(second), _size(third), "nhwc", floating)
    return None


def needed_image(document: ManifestDocument, facts: ModelFacts) -> ImageInput:
    """The image input of a model for images.

    Raises:
        ManifestInvalid: it takes something else.
    """
    image = image_input(facts.signature)
    if image is None:
        raise document.invalid(
            f"The model's inputs are {name_list(facts.signature.inputs)}; the task "
            f"'{document.task}' knows what to do by itself with one input of images [n, 1 or 3, "
            "height, width] or [n, height, width, 1 or 3]. Declare 'pre', or choose the task "
            "'tensor'.",
            "pre",
        )
    return image


def text_inputs(signature: Signature) -> tuple[str, ...] | None:
    """The inputs of a model that takes token ids (items, length) and nothing else."""
    names = tuple(spec.name for spec in signature.inputs)
    fit = all(len(spec.shape) == 2 and spec.datatype in INTEGERS for spec in signature.inputs)
    return names if fit and "input_ids" in names and set(names) <= TEXT_INPUTS else None


def flat_outputs(signature: Signature) -> list[TensorSpec]:
    """Outputs of floats with one row per item and one number per column (sizes of 1 apart)."""
    return [
        spec
        for spec in signature.outputs
        if spec.datatype in FLOATS and len(spec.shape) >= 2 and set(spec.shape[2:]) <= {1}
    ]


def class_scores(facts: ModelFacts, output: TensorSpec) -> ClassScores:
    """What is known of an output that scores classes."""
    operators = facts.metadata.get("operators", "").split(",")
    maker = facts.metadata.get(MADE_BY + output.name, "")
    if "prob" in output.name.lower():
        probabilities, why = True, f"output '{output.name}' says so"
    elif maker in _GIVE_PROBABILITIES:
        probabilities, why = True, f"output '{output.name}' comes from {maker}"
    elif maker not in _PASS_ON:
        probabilities, why = False, f"output '{output.name}' comes from {maker}"
    else:
        probabilities = "Softmax" in operators
        why = f"the model has {'a' if probabilities else 'no'} Softmax operator"
    return ClassScores(output.name, _size(output.shape[1]), probabilities, why)


def name_list(specs: Sequence[TensorSpec]) -> str:
    """Tensors with their shapes, for messages: `'x' [-1, 3]`."""
    return ", ".join(f"'{spec.name}' {list(spec.shape)}" for spec in specs[:8]) or "none"


def _size(size: int) -> int | None:
    return None if size == DYNAMIC else size
