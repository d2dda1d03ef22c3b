"""What columns are for, as said or by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from modelry.datasets.importers.options import TableOptions
from modelry.domain.datasets import Column, ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput

MAX_COLUMNS = 10_000
_LABELS = ("label", "labels", "class", "target", "y", "category", "species")
_IDS = frozenset({"id", "uuid", "guid", "row_id", "index", "row"})
_TEXT_PAIR = ("source", "target")


def check_names(names: Sequence[str], file: str) -> None:
    """See that each column has a name of its own.

    Raises:
        InvalidInput: one has none, two have the same, one is too long, or there are too many.
    """
    if len(names) > MAX_COLUMNS:
        raise InvalidInput(
            f"The file '{file}' has {len(names)} columns; at most {MAX_COLUMNS} are kept.",
            param=file,
        )
    seen: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise InvalidInput(
                f"Column {place} of '{file}' is called {name[:40]!r}; expected a name of 1 to 200 "
                "printable characters.",
                param=file,
            )
        if name in seen:
            raise InvalidInput(
                f"Columns {seen[name]} and {place} of '{file}' are both called '{name}'; give "
                "each a name of its own.",
                param=file,
            )
        seen[name] = place


def check_left_out(names: Iterable[str], options: TableOptions) -> None:
    """See that columns that are to be left out are there, and not all that are.

    Raises:
        InvalidInput: one is not, or none would be left.
    """
    known = set(names)
    for name in options.leave_out:
        if name not in known:
            raise InvalidInput(f"There is no column '{name}' to leave out.", param="leave_out")
    if known <= set(options.leave_out):
        raise InvalidInput("All columns are to be left out.", param="leave_out")


def may_be_label(name: str, options: TableOptions) -> bool:
    """Whether a column is the label as said, or may be by its name."""
    if options.label is not None:
        return name == options.label
    return name.lower() in _LABELS


def assign_roles(
    types: Mapping[str, ColumnType | None], options: TableOptions
) -> dict[str, ColumnRole]:
    """The role of each column.

    Args:
        types: of the columns, as far as they are known.
        options: roles that are said.

    Raises:
        InvalidInput: a role or type is said for a column that is not there.
    """
    given = options.roles()
    for name in (*given, *options.types):
        if name not in types:
            raise InvalidInput(
                f"There is no column '{name}'; there are {', '.join(list(types)[:30])}.",
                param=name,
            )
    roles = dict.fromkeys(types, ColumnRole.FEATURE)
    if options.features:
        roles = {
            name: ColumnRole.FEATURE if name in options.features else ColumnRole.IGNORED
            for name in types
        }
    taken = set(given.values())
    by_name = {name.lower(): name for name in reversed(list(types)) if name not in given}
    if not taken & {ColumnRole.LABEL, ColumnRole.SOURCE}:
        if all(one in by_name for one in _TEXT_PAIR):
            roles[by_name["source"]] = ColumnRole.SOURCE
            roles[by_name["target"]] = ColumnRole.TARGET
        else:
            label = next((by_name[one] for one in _LABELS if one in by_name), None)
            if label is not None:
                roles[label] = ColumnRole.LABEL
    if ColumnRole.ID not in taken:
        first_id = next((name for low, name in by_name.items() if low in _IDS), None)
        if first_id is not None and roles[first_id] is not ColumnRole.LABEL:
            roles[first_id] = ColumnRole.ID
    if ColumnRole.WEIGHT not in taken and "sample_weight" in by_name:
        roles[by_name["sample_weight"]] = ColumnRole.WEIGHT
    return roles | given


def settled_roles(columns: Sequence[Column], options: TableOptions) -> tuple[Column, ...]:
    """Columns whose values can be what they are for: roles that were only guessed are given up.

    Raises:
        InvalidInput: what is said to be a text of a pair is no text, or a weight no number.
    """
    said = options.roles()
    unfit = {one.name for one in columns if not _fits(one)}
    for column in columns:
        if column.name in unfit and column.name in said:
            raise InvalidInput(
                f"Column '{column.name}' is to be the {column.role.value} of rows, and holds "
                f"{column.type.value} values; expected "
                f"{'numbers' if column.role is ColumnRole.WEIGHT else 'texts'}.",
                param=column.name,
            )
    pair = {one.name for one in columns if one.role in (ColumnRole.SOURCE, ColumnRole.TARGET)}
    if pair & unfit:
        unfit |= pair
    return tuple(
        replace(one, role=ColumnRole.FEATURE) if one.name in unfit else one for one in columns
    )


def _fits(column: Column) -> bool:
    if column.role in (ColumnRole.SOURCE, ColumnRole.TARGET):
        return column.type is ColumnType.TEXT
    if column.role is ColumnRole.WEIGHT:
        return column.type in (ColumnType.INTEGER, ColumnType.NUMBER)
    return True
