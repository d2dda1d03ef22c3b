"""Says which of several items an error is about, and which numbers are no numbers."""

from __future__ import annotations

import numpy as np

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.tensors import Array


def of_item(index: int, count: int) -> str:
    """How a message about one item begins: nothing when there is only one."""
    return "" if count == 1 else f"Item {index + 1} of {count}: "


def check_finite(array: Array, what: str) -> None:
    """Refuse NaN and infinities: they cannot be ranked, compared or written as JSON.

    Args:
        array: dimension 0 counts items.
        what: what the numbers are, for the message.

    Raises:
        ModelFailed: there are some; names the first item that has them.
    """
    is_finite = np.isfinite(array)
    if is_finite.all():
        return
    bad = ~is_finite.reshape(len(array), -1).all(axis=1)
    index = int(np.flatnonzero(bad)[0])
    raise ModelFailed(
        f"{of_item(index, len(array))}the model gave {what} that are NaN or infinite. Check that "
        "the input lies in the range that the model was trained on."
    )
