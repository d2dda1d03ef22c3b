"""From rows of a table to tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.casting import can_hold, to_input
from modelry.processing.columns import MAX_COLUMNS, Column, column_of, column_reader
from modelry.processing.complaints import of_item
from modelry.processing.kinds import Building, StepKind
from modelry.processing.parameters import Parameter, Unfit, list_of, show, suggest
from modelry.processing.values import Form, Item, Stage, Tensors
from modelry.runtime_api.tensors import Array

ROW_FIELD = "row"


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """The columns that go into one input, by their places in the declaration.

    `has_numbers` says that all of them are numbers, which are read together.
    """

    spec: TensorSpec
    places: tuple[int, ...]
    has_numbers: bool = False


def columns(
    items: Sequence[Item], *, columns: tuple[Column, ...], groups: tuple[ColumnGroup, ...]
) -> Tensors:
    """Puts the cells of rows into the model's inputs, in the declared order and types.

    A row is an object with the columns' names, or a list in their order. Unknown and missing
    columns, and cells of another type, are refused; a column with a `default` may be missing.
    Categories become their place in `values`.
    """
    names = {column.name: at for at, column in enumerate(columns)}
    rows = [_cells_of(item.get(ROW_FIELD), names, at, len(items)) for at, item in enumerate(items)]
    table = list(zip(*rows, strict=True))
    return Tensors({group.spec.name: _tensor(group, columns, table) for group in groups})


def _cells_of(row: Any, names: Mapping[str, int], at: int, count: int) -> Sequence[Any]:
    """The cells of a row in the order of the columns; None where one is missing."""
    if isinstance(row, Mapping):
        if row.keys() <= names.keys():
            return [row.get(name) for name in names]
        raise _unknown(next(name for name in row if name not in names), names, of_item(at, count))
    where = of_item(at, count)
    if not isinstance(row, list | tuple):
        raise InvalidInput(
            f"{where}'{ROW_FIELD}' is {show(row)}; expected an object with the columns, or a list "
            "of their values.",
            param=ROW_FIELD,
        )
    if len(row) != len(names):
        raise InvalidInput(
            f"{where}the row has {len(row)} values; the model has {len(names)} columns.",
            param=ROW_FIELD,
        )
    return row


def _unknown(name: Any, names: Mapping[str, int], where: str) -> InvalidInput:
    shown = ", ".join(list(names)[:20]) + (", …" if len(names) > 20 else "")
    return InvalidInput(
        f"{where}unknown column {show(name)}; the model has: {shown}.{suggest(str(name), names)}",
        param=str(name)[:80],
    )


def _numbers(cells: Sequence[Sequence[Any]]) -> Array | None:
    """Columns of numbers (n, columns); None where a cell needs a look, or a default, of its own."""
    kinds = set().union(*(map(type, column) for column in cells))
    if not kinds <= {int, float}:
        return None
    try:
        numbers: Array = np.array(cells, np.float64).T
    except OverflowError:  # an integer beyond all floats
        return None
    is_fit = np.isfinite(numbers).all() and (int not in kinds or np.abs(numbers).max() < 2.0**63)
    return numbers if is_fit else None


def _column(column: Column, values: Sequence[Any]) -> Array:
    for index, value in enumerate(values):
        if value is None and column.default is None:
            raise InvalidInput(
                f"{of_item(index, len(values))}column '{column.name}' is missing; expected "
                f"{column.expected}.",
                param=column.name,
            )
        if value is not None and not column.fits(value):
            raise InvalidInput(
                f"{of_item(index, len(values))}column '{column.name}' is {show(value)}; expected "
                f"{column.expected}.",
                param=column.name,
            )
    return column.cells(values)


def _tensor(group: ColumnGroup, columns: Sequence[Column], table: Sequence[Sequence[Any]]) -> Array:
    spec = group.spec
    numbers = _numbers([table[place] for place in group.places]) if group.has_numbers else None
    if numbers is not None:
        together = to_input(numbers, spec)
        return together[:, 0] if len(spec.shape) == 1 else together
    parts = []
    for place in group.places:
        cells = _column(columns[place], table[place])
        if cells.dtype == np.bool_ and spec.datatype is not Datatype.BOOL:
            cells = cells.view(np.uint8)
        if not can_hold(spec.datatype, cells):
            raise InvalidInput(
                f"Column '{columns[place].name}' has a value that the model's {spec.datatype} "
                "cannot hold.",
                param=columns[place].name,
            )
        parts.append(to_input(cells, spec))
    return parts[0] if len(spec.shape) == 1 else np.stack(parts, axis=1)


def _prepare(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    declared = tuple(column_of(entry) for entry in parameters["columns"])
    names = [column.name for column in declared]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Unfit(f"column '{twice[0]}' is declared twice.")
    return {"columns": declared, "groups": _groups(declared, building.signature)}


def _groups(declared: Sequence[Column], signature: Signature) -> tuple[ColumnGroup, ...]:
    only = signature.inputs[0].name if len(signature.inputs) == 1 else None
    places: dict[str, list[int]] = {}
    for place, column in enumerate(declared):
        places.setdefault(column.input or only or column.name, []).append(place)
    specs = {spec.name: spec for spec in signature.inputs}
    for name, group in places.items():
        if name not in specs:
            raise Unfit(
                f"column '{declared[group[0]].name}' goes to the input '{name}', which the model "
                f"does not have; it has: {', '.join(specs)}. Say which with 'input'."
            )
        _check_group(specs[name], [declared[place] for place in group])
    return tuple(
        ColumnGroup(
            specs[name], tuple(group), all(declared[place].kind == "number" for place in group)
        )
        for name, group in places.items()
    )


def _check_group(spec: TensorSpec, group: Sequence[Column]) -> None:
    wanted = 1 if len(spec.shape) == 1 else spec.shape[1] if len(spec.shape) == 2 else None
    if wanted is None:
        raise Unfit(f"input '{spec.name}' has shape {list(spec.shape)}; columns need [n, columns].")
    if wanted not in (DYNAMIC, len(group)):
        raise Unfit(
            f"input '{spec.name}' takes {wanted} column(s), but {len(group)} are declared for it."
        )
    for column in group:
        if not column.goes_to(spec.datatype):
            raise Unfit(
                f"column '{column.name}' is of type '{column.kind}', which the input "
                f"'{spec.name}' of type {spec.datatype} cannot take."
            )


def _trace(form: Form, bound: Mapping[str, Any]) -> Form:
    return replace(form, names=frozenset(group.spec.name for group in bound["groups"]))


STEPS = (
    StepKind(
        name="columns",
        side="pre",
        run=columns,
        takes=(Stage.ITEMS,),
        gives=Stage.TENSORS,
        parameters=(Parameter("columns", list_of(column_reader(), 1, MAX_COLUMNS)),),
        shorthand="columns",
        prepare=_prepare,
        trace=_trace,
        reads=(ROW_FIELD,),
    ),
)
