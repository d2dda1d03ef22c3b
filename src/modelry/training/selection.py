"""What a recipe uses of what it is given: columns and splits of a dataset, or a version."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import BaseVersion
from modelry.training.options import SplitParameters

CLASS_TYPES = (ColumnType.TEXT, ColumnType.INTEGER, ColumnType.BOOLEAN)
"""Of labels that can be classes."""
IMAGE_TYPES = (ColumnType.IMAGE, ColumnType.TENSOR)
"""Of images: files, or arrays of pixels."""


class FromNothing:
    """A recipe that trains no version further; it says so instead of leaving the version aside."""

    name: ClassVar[str]

    def check_base(
        self,
        base: BaseVersion | None,
        files: Collection[str],
        parameters: Any,  # noqa: ARG002 - of others it depends on them
    ) -> None:
        """See `ChecksBase.check_base`."""
        if base is not None or files:
            raise InvalidInput(
                f"The recipe '{self.name}' begins from nothing; leave 'base' and 'base_files' out.",
                param="base",
            )


@dataclass(frozen=True, slots=True)
class Splits:
    """`validation` is None where rows of `train` are held out instead, `held_out` of them."""

    train: str
    validation: str | None
    held_out: int

    @property
    def used(self) -> list[str]:
        """Names of those whose rows are read."""
        return [self.train, *([] if self.validation is None else [self.validation])]


def choose_splits(data: DataDescription, options: SplitParameters) -> Splits:
    """The splits that `options` name, as far as the dataset has them.

    A dataset with one split alone is learnt from, whatever that split is called.

    Raises:
        InvalidInput: there are no rows to learn from.
    """
    train = options.train_split
    if train not in data.rows and len(data.rows) == 1:
        train = next(iter(data.rows))
    if train not in data.rows:
        raise InvalidInput(
            f"{data.ref} has no split '{train}'; it has: {', '.join(data.rows) or 'none'}. Name "
            "one with 'train_split'.",
            param="train_split",
        )
    if data.rows[train] < 1:
        raise InvalidInput(f"Split '{train}' of {data.ref} has no rows.", param="train_split")
    validation = options.validation_split
    if validation in data.rows and validation != train:
        if data.rows[validation] < 1:
            raise InvalidInput(
                f"Split '{validation}' of {data.ref} has no rows.", param="validation_split"
            )
        return Splits(train, validation, 0)
    if validation != SplitParameters.model_fields["validation_split"].default:
        raise InvalidInput(
            f"{data.ref} has no split '{validation}' beside '{train}'; it has: "
            f"{', '.join(data.rows)}.",
            param="validation_split",
        )
    return Splits(train, None, int(data.rows[train] * options.validation_share))


def choose_column(
    data: DataDescription,
    role: ColumnRole,
    types: Collection[ColumnType],
    named: str | None,
    parameter: str,
) -> Column:
    """The one column of a role, or the one that is named.

    Args:
        data: the dataset.
        role: what it is for; only looked at when none is named.
        types: what it may hold.
        named: its name, where the parameters say it.
        parameter: which parameter that is, for messages.

    Raises:
        InvalidInput: there is none, or several and no telling which; or it is nullable.
    """
    fits = [one for one in data.schema.with_role(role) if one.type in types]
    wanted = " or ".join(types)
    if named is not None:
        found = data.schema.find(named)
        if found is None or found.type not in types:
            has = "no such column" if found is None else f"of type {found.type}"
            raise InvalidInput(
                f"'{parameter}' is '{named[:80]}', which is {has} in {data.ref}; expected a column "
                f"of type {wanted}.",
                param=parameter,
            )
    elif len(fits) == 1:
        found = fits[0]
    else:
        shown = ", ".join(f"{one.name} ({one.type}, {one.role})" for one in data.schema.columns)
        raise InvalidInput(
            f"{data.ref} has {len(fits) or 'no'} columns of role '{role}' and type {wanted}; "
            f"expected one{', or its name in ' + repr(parameter) if fits else ''}. Its columns "
            f"are: {shown[:1000]}.",
            param=parameter,
        )
    if found.is_nullable:
        raise InvalidInput(
            f"Column '{found.name}' of {data.ref} may lack values; derive a version without the "
            "rows that do.",
            param=parameter,
        )
    return found


def check_classes(column: Column) -> None:
    """See that a label's declared classes are two at least.

    Raises:
        InvalidInput: they are not.
    """
    if len(column.classes) == 1:
        raise InvalidInput(
            f"Label '{column.name}' has one class only, '{column.classes[0][:80]}'; expected two "
            "at least, or there is nothing to tell apart.",
            param=column.name,
        )


def check_image_column(column: Column) -> None:
    """See that a tensor column holds pixels.

    Raises:
        InvalidInput: it holds something else; says what is expected.
    """
    if column.type is not ColumnType.TENSOR:
        return
    is_picture = len(column.shape) == 2 or (len(column.shape) == 3 and column.shape[2] in (1, 3))
    if column.dtype != "uint8" or not is_picture:
        raise InvalidInput(
            f"Column '{column.name}' has arrays of {column.dtype} and shape {list(column.shape)}; "
            "images are uint8 arrays [height, width], [height, width, 1] or [height, width, 3] "
            "with values from 0 to 255, or image files. For other arrays take the recipe 'keras'.",
            param=column.name,
        )
