"""Which columns of a dataset go into which input of a model, and which are its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription, Schema
from modelry.domain.errors import InvalidInput

SCALARS = frozenset({ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.BOOLEAN})
_TAKEN = SCALARS | {ColumnType.TENSOR, ColumnType.IMAGE}
Shape = tuple[int | None, ...]


class LabelKind(StrEnum):
    """What a loss takes."""

    NUMBERS = "numbers"
    INDEXES = "indexes"
    ONE_HOT = "one-hot"


@dataclass(frozen=True, slots=True)
class Slot:
    """An input or an output of a model.

    Attributes:
        name: of its layer.
        tensor: what it is called in the exported model.
        shape: of one row; None where it is open.
        dtype: as numpy calls it.
    """

    name: str
    tensor: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class Interface:
    """What a model takes and gives, in its order."""

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Feed:
    """A slot and the columns that fill it: one of tensors or images, or scalars side by side."""

    slot: Slot
    columns: tuple[Column, ...]

    @property
    def is_table(self) -> bool:
        """Whether it is filled by scalars side by side."""
        return self.columns[0].type in SCALARS

    @property
    def is_image(self) -> bool:
        """Whether it is filled by image files."""
        return self.columns[0].type is ColumnType.IMAGE


@dataclass(frozen=True, slots=True)
class Target:
    """An output and the column that tells what it should be.

    `is_logits` says that the output is to go through softmax.
    """

    slot: Slot
    column: Column
    kind: LabelKind
    is_logits: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """How rows go into a model."""

    feeds: tuple[Feed, ...]
    targets: tuple[Target, ...]
    weight: Column | None

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        names = [one.name for feed in self.feeds for one in feed.columns]
        names += [target.column.name for target in self.targets]
        return names if self.weight is None else [*names, self.weight.name]


def check_columns(data: DataDescription) -> None:
    """See that a dataset has what any Keras model needs.

    Raises:
        InvalidInput: it has no features or labels, or ones that no model takes.
    """
    features = data.schema.with_role(ColumnRole.FEATURE)
    labels = data.schema.with_role(ColumnRole.LABEL)
    if not features or not labels:
        what = "features" if not features else "a label"
        raise InvalidInput(
            f"{data.ref} has no column that is {what}; a Keras model learns from features to "
            "labels. Give columns their roles when you import or derive it.",
            param="dataset",
        )
    for one in features:
        if one.type not in _TAKEN:
            raise InvalidInput(
                f"Column '{one.name}' of {data.ref} holds {one.type.value}, which no Keras model "
                "takes here: give numbers, tensors or images, or the role 'ignored'.",
                param=one.name,
            )
    for one in labels:
        if one.type not in SCALARS | {ColumnType.TENSOR} and not one.classes:
            raise InvalidInput(
                f"Label '{one.name}' of {data.ref} holds {one.type.value} without classes; give "
                "classes, numbers or tensors.",
                param=one.name,
            )


def bind(schema: Schema, model: Interface, loss: Any) -> Binding:
    """Match columns to a model.

    Args:
        schema: of the dataset.
        model: what takes them.
        loss: as the model was compiled: a name, a config, or some of them by output.

    Raises:
        InvalidInput: they do not match; says what the model takes and what there is.
    """
    features = schema.with_role(ColumnRole.FEATURE)
    weights = schema.with_role(ColumnRole.WEIGHT)
    if len(model.inputs) == 1:
        feeds = [_only(model.inputs[0], features)]
    else:
        feeds = [_named(slot, features) for slot in model.inputs]
    labels = schema.with_role(ColumnRole.LABEL)
    targets = tuple(
        _target(slot, labels, at, len(model.outputs), loss) for at, slot in enumerate(model.outputs)
    )
    return Binding(tuple(feeds), targets, weights[0] if weights else None)


def _only(slot: Slot, features: Sequence[Column]) -> Feed:
    if len(features) == 1 and features[0].type not in SCALARS:
        return _checked(slot, features[0])
    if all(one.type in SCALARS for one in features):
        if slot.shape not in ((len(features),), (None,)):
            raise InvalidInput(
                f"Input '{slot.name}' takes {_told(slot.shape)}, and the dataset has "
                f"{len(features)} columns of numbers ({_names(features)}). Build the model with "
                f"'keras.Input(({len(features)},))', or give other columns the role 'ignored'.",
                param=slot.name,
            )
        return Feed(slot, tuple(features))
    raise InvalidInput(
        f"The model has one input '{slot.name}', and the dataset several features that cannot be "
        f"put side by side ({_names(features)}). Give all but one the role 'ignored'.",
        param=slot.name,
    )


def _named(slot: Slot, features: Sequence[Column]) -> Feed:
    found = [one for one in features if one.name == slot.name]
    if not found:
        raise InvalidInput(
            f"The model's input '{slot.name}' has no column of that name; the features are "
            f"{_names(features)}. Name the inputs as the columns: 'keras.Input(shape, name=…)'.",
            param=slot.name,
        )
    return _checked(slot, found[0])


def _checked(slot: Slot, column: Column) -> Feed:
    if column.type in SCALARS and slot.shape in ((1,), (None,), ()):
        return Feed(slot, (column,))
    if column.type is ColumnType.IMAGE:
        if len(slot.shape) != 3 or slot.shape[2] not in (1, 3) or None in slot.shape:
            raise InvalidInput(
                f"Input '{slot.name}' takes {_told(slot.shape)}; images are fed as (height, width, "
                "1 or 3), with all three fixed.",
                param=slot.name,
            )
        return Feed(slot, (column,))
    if column.type is ColumnType.TENSOR and fitted_shape(column.shape, slot.shape) is not None:
        return Feed(slot, (column,))
    raise InvalidInput(
        f"Input '{slot.name}' takes {_told(slot.shape)}, and column '{column.name}' holds "
        f"{_told(column.shape)}. Build the model for that shape, or import rows of the model's.",
        param=slot.name,
    )


def fitted_shape(given: Sequence[int], wanted: Shape) -> tuple[int, ...] | None:
    """How tensors of the shape `given` go into an input, as Keras sees it; None if not at all.

    A last axis of length 1 may be left out, or be there in vain.
    """
    shape = tuple(given)
    if len(shape) + 1 == len(wanted) and wanted[-1] in (1, None):
        shape = (*shape, 1)
    elif len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    fits = len(shape) == len(wanted) and all(
        open_or_same in (None, one) for one, open_or_same in zip(shape, wanted, strict=True)
    )
    return shape if fits else None


def _target(slot: Slot, labels: Sequence[Column], at: int, count: int, loss: Any) -> Target:
    if count == 1:
        if len(labels) != 1:
            raise InvalidInput(
                f"The model has one output, and the dataset {len(labels)} labels "
                f"({_names(labels)}). Give all but one the role 'ignored', or put them into one "
                "tensor.",
                param=slot.name,
            )
        column = labels[0]
    else:
        found = [one for one in labels if one.name == slot.name]
        if not found:
            raise InvalidInput(
                f"The model's output '{slot.name}' has no label of that name; the labels are "
                f"{_names(labels)}. Name the last layers as the columns.",
                param=slot.name,
            )
        column = found[0]
    width = slot.shape[-1] if slot.shape else 1
    own_loss = _loss_of(loss, slot.name, at)
    kind = _kind(column, width, _loss_name(own_loss))
    if column.classes and kind is not LabelKind.NUMBERS and width != len(column.classes):
        raise InvalidInput(
            f"Output '{slot.name}' has {width} numbers, and label '{column.name}' "
            f"{len(column.classes)} classes; its layer needs {len(column.classes)} units.",
            param=slot.name,
        )
    if column.classes and kind is LabelKind.NUMBERS and len(column.classes) > 2:
        raise InvalidInput(
            f"Output '{slot.name}' has one number, and label '{column.name}' "
            f"{len(column.classes)} classes. Build the last layer with {len(column.classes)} units "
            "and use a categorical loss.",
            param=slot.name,
        )
    settings = own_loss.get("config") if isinstance(own_loss, dict) else None
    is_logits = isinstance(settings, dict) and settings.get("from_logits") is True
    return Target(slot, column, kind, is_logits)


def _kind(column: Column, width: int | None, loss: str) -> LabelKind:
    if column.type is ColumnType.TENSOR:
        return LabelKind.INDEXES if loss.startswith("sparse") else LabelKind.NUMBERS
    if loss.startswith("sparse"):
        return LabelKind.INDEXES
    if loss.startswith("categorical") or (column.classes and (width or 1) > 1):
        return LabelKind.ONE_HOT
    return LabelKind.NUMBERS


def _loss_of(loss: Any, output: str, at: int) -> Any:
    """Of one output, where a model has several."""
    if isinstance(loss, dict) and "class_name" not in loss:
        return loss.get(output)
    if isinstance(loss, list):
        return loss[at] if at < len(loss) else None
    return loss


def _loss_name(loss: Any) -> str:
    """In small letters."""
    if isinstance(loss, dict):
        named = loss.get("class_name")
        loss = loss.get("config") if named == "function" else named
    return loss.lower() if isinstance(loss, str) else ""


def _told(shape: Sequence[int | None]) -> str:
    inner = ", ".join("any" if one is None else str(one) for one in shape)
    return f"({inner})"


def _names(columns: Sequence[Column]) -> str:
    names = ", ".join(one.name for one in columns[:20])
    return f"{names}, …" if len(columns) > 20 else names or "none"
