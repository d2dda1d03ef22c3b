"""Whether the twin answers as the engine that serves: else its gradients explain another model."""

from __future__ import annotations

import numpy as np

from modelry.gradients.twin import no_twin
from modelry.runtime_api.tensors import Array

FARTHEST = 1e-3
"""How far, relative to the largest number, both may lie apart."""
_LEAST = 1e-3


def distance(twin: Array, served: Array) -> float:
    """The largest difference, as a share of the largest number.

    Raises:
        NotSupported: it is more than may be.
    """
    if twin.shape != served.shape:
        raise no_twin(
            f"in torch it gives the shape {list(twin.shape)}, and served {list(served.shape)}."
        )
    a, b = twin.astype(np.float64), served.astype(np.float64)
    size = max(_LEAST, float(np.abs(b).max(initial=0.0)))
    far = float(np.abs(a - b).max(initial=0.0)) / size
    if not far <= FARTHEST:
        raise no_twin(
            f"in torch it answers this input with other numbers than the engine that serves it (by "
            f"{far:.2g} of the largest), so that its gradients would explain another model."
        )
    return far
