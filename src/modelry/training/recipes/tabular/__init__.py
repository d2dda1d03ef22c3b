"""`tabular`: boosted trees, or a network, learn a class or a number from the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import Parameters, Run, Trained, TrainingData
from modelry.training.options import LoopParameters
from modelry.training.selection import (
    CLASS_TYPES,
    FromNothing,
    check_classes,
    choose_column,
    choose_splits,
)

CELL_TYPES = (ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.BOOLEAN, ColumnType.TEXT)
"""Of columns that can be learnt from."""
NUMBER_TYPES = (ColumnType.NUMBER, ColumnType.INTEGER)


class TabularParameters(LoopParameters):
    """Parameters of `tabular`."""

    model: Literal["trees", "network"] = Field(
        "trees",
        description="`trees`: gradient-boosted decision trees; `network`: dense layers, for which "
        "`epochs`, `batch_size`, `optimiser`, `learning_rate` and what belongs to them count",
    )
    objective: Literal["auto", "classification", "regression"] = Field(
        "auto",
        description="what the label is: a class or a number; auto where its type tells it (text "
        "and truth values are classes, numbers with a fraction are numbers)",
    )
    trees: int = Field(
        300, ge=1, le=20_000, description="rounds of boosting, each a tree (per class, if several)"
    )
    tree_rate: float = Field(
        0.05, gt=0.0, le=1.0, description="how much of its answer each tree adds"
    )
    depth: int = Field(4, ge=1, le=12, description="questions from a tree's root to a leaf at most")
    least_rows: int = Field(10, ge=1, le=10**6, description="rows that a leaf must have at least")
    leaf_penalty: float = Field(
        1.0, ge=0.0, le=1e6, description="L2 penalty on the answers of leaves"
    )
    row_share: float = Field(
        0.8, gt=0.0, le=1.0, description="the share of rows that each tree is grown on"
    )
    column_share: float = Field(
        1.0, gt=0.0, le=1.0, description="the share of columns that each tree may ask about"
    )
    layers: tuple[int, ...] = Field(
        (128, 64), max_length=16, description="`network`: widths of its hidden layers"
    )
    dropout: float = Field(
        0.1, ge=0.0, lt=1.0, description="`network`: the share of features left out at random"
    )
    loss: Literal["squared", "absolute", "huber"] = Field(
        "squared",
        description="regression: which error is made small; `absolute` and `huber` mind outliers "
        "less",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced`: classes weigh alike, however many rows they have"
    )
    background_rows: int = Field(
        100,
        ge=0,
        le=200,
        description="rows of the training split, chosen at random, that are kept with the version "
        "for explanations of its answers; 0 keeps none",
    )
    columns: tuple[str, ...] | None = Field(
        None, description="what is learnt from; by default every column of the role `feature`"
    )
    label_column: str | None = Field(None, description="the column that is to be predicted")


class Tabular(FromNothing):
    """Implements `Recipe`."""

    name: ClassVar[str] = "tabular"
    summary: ClassVar[str] = (
        "Gradient-boosted trees, or a network of dense layers, learn a class or a number from the "
        "rows of a table."
    )
    tasks: ClassVar[tuple[str, ...]] = ("tabular",)
    parameters: ClassVar[type[Parameters]] = TabularParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        choose_splits(data, parameters)
        label, _ = chosen_label(data, parameters)
        chosen_cells(data, parameters, label)

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        from modelry.training.recipes.tabular.training import train

        return train(data, parameters, run)


def chosen_label(data: DataDescription, parameters: TabularParameters) -> tuple[Column, bool]:
    """The column that is predicted, and whether it holds classes.

    Raises:
        InvalidInput: there is none, or its type does not tell which of both it is.
    """
    types = tuple(dict.fromkeys((*CLASS_TYPES, *NUMBER_TYPES)))
    label = choose_column(data, ColumnRole.LABEL, types, parameters.label_column, "label_column")
    objective = parameters.objective
    if objective == "auto":
        if label.type is ColumnType.INTEGER and not label.classes:
            raise InvalidInput(
                f"Label '{label.name}' holds integers, which can be classes or amounts; set "
                "'objective' to 'classification' or 'regression'.",
                param="objective",
            )
        objective = "regression" if label.type is ColumnType.NUMBER else "classification"
    allowed = CLASS_TYPES if objective == "classification" else NUMBER_TYPES
    if label.type not in allowed or (objective == "regression" and label.classes):
        raise InvalidInput(
            f"Label '{label.name}' is of type {label.type}{' with classes' * bool(label.classes)}, "
            f"which does not suit '{objective}'; expected {' or '.join(allowed)}.",
            param="objective",
        )
    if objective == "classification":
        check_classes(label)
    return label, objective == "classification"


def chosen_cells(
    data: DataDescription, parameters: TabularParameters, label: Column
) -> Sequence[Column]:
    """The columns that are learnt from, in the dataset's order.

    Raises:
        InvalidInput: there are none, or one cannot be learnt from.
    """
    if parameters.columns is None:
        found = [one for one in data.schema.with_role(ColumnRole.FEATURE) if one != label]
    else:
        known = {one.name for one in data.schema.columns}
        unknown = [name for name in parameters.columns if name not in known]
        if unknown:
            raise InvalidInput(
                f"'columns' names '{unknown[0][:80]}', which {data.ref} does not have; it has: "
                f"{', '.join(sorted(known))[:1000]}.",
                param="columns",
            )
        found = [one for one in data.schema.columns if one.name in parameters.columns]
    for column in found:
        if column.type not in CELL_TYPES or column.name == label.name:
            what = "the label" if column.name == label.name else f"of type {column.type}"
            raise InvalidInput(
                f"Column '{column.name}' is {what} and cannot be learnt from; expected "
                f"{', '.join(CELL_TYPES)}. Give it the role 'ignored', or name the others in "
                "'columns'.",
                param=column.name,
            )
    if not found:
        raise InvalidInput(
            f"{data.ref} has no column of the role 'feature' to learn from.", param="columns"
        )
    return found
