"""Signatures as engines report them: sizes, or names of open dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from modelry.domain.signature import DYNAMIC

Dimension = int | str | None
"""A size, the name of an open dimension, or None for an open one without a name."""

_ANONYMOUS = ("unk__", "DynamicDimension.")
_WORDLESS = frozenset({"", "?", "-1"})


def plain_shape(dimensions: Sequence[Dimension]) -> tuple[int, ...]:
    """`dimensions` with `DYNAMIC` for every open one (sizes below 1 mean open as well)."""
    return tuple(size if isinstance(size, int) and size > 0 else DYNAMIC for size in dimensions)


def shares_batch_dimension(
    inputs: Sequence[Sequence[Dimension]], outputs: Sequence[Sequence[Dimension]]
) -> bool:
    """Whether one named open dimension leads every input and output and stands nowhere else.

    An open dimension without a name may be anything, such as the number of boxes found; a name
    that returns elsewhere (a batch x batch matrix) makes answers depend on their neighbours.
    """
    shapes = [*inputs, *outputs]
    if not inputs or not outputs or not all(shapes):
        return False
    leading = {shape[0] for shape in shapes}
    name = next(iter(leading))
    if len(leading) != 1 or not isinstance(name, str):
        return False
    if name in _WORDLESS or name.startswith(_ANONYMOUS):
        return False
    uses = Counter(size for shape in shapes for size in shape)
    return uses[name] == len(shapes)
