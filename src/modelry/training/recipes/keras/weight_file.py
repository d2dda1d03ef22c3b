"""A look at an HDF5 file of weights before Keras reads it.

HDF5 can link to other files, keep values in them, expand, and ask for plug-ins that are code. Keras
writes none of that: plain numbers, one after the other, in groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelry.domain.errors import FileRefused
from modelry.manifest.nodes import shorten
from modelry.training.recipes.keras.archive import refused

if TYPE_CHECKING:
    import h5py

MAX_OBJECTS = 200_000
MAX_DEPTH = 200
_ADVICE = "Save the model again with 'model.save(\"model.keras\")'."


@dataclass(slots=True)
class WeightFacts:
    """What a file holds: arrays, and bytes in them."""

    arrays: int = 0
    size_bytes: int = 0


def check_weights(path: Path) -> WeightFacts:
    """See that a file holds plain arrays alone.

    Raises:
        FileRefused: it is no HDF5 file, or has links, references, compression or holes in it.
    """
    import h5py

    facts = WeightFacts()
    try:
        with h5py.File(path, "r") as file:
            _walk(file, facts)
    except FileRefused:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, RecursionError):
        raise refused(f"its weights are damaged, or no HDF5 file. {_ADVICE}") from None
    return facts


def _walk(root: h5py.File, facts: WeightFacts) -> None:
    import h5py

    pending: list[tuple[h5py.Group, int]] = [(root, 0)]
    seen: set[Any] = set()
    while pending:
        group, depth = pending.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"[-200:]
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise refused(f"its weights link from {shorten(place, 200)} elsewhere. {_ADVICE}")
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen or len(seen) >= MAX_OBJECTS or depth >= MAX_DEPTH:
                raise refused(f"its weights hold {shorten(place, 200)} more than once. {_ADVICE}")
            seen.add(address)
            if isinstance(found, h5py.Group):
                pending.append((found, depth + 1))
            else:
                _check_array(found, place, facts)


def _check_array(found: Any, place: str, facts: WeightFacts) -> None:
    import h5py

    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub":
        raise refused(f"its weights hold {shorten(place, 200)}, which is no array. {_ADVICE}")
    if found.external or found.is_virtual:
        raise refused(f"its weights keep {shorten(place, 200)} in another file. {_ADVICE}")
    stored = found.id.get_storage_size()
    if found.chunks is not None or stored != found.nbytes:
        raise refused(
            f"its weights keep {shorten(place, 200)} compressed, or not at all ({stored} of "
            f"{found.nbytes} bytes). {_ADVICE}"
        )
    facts.arrays += 1
    facts.size_bytes += int(found.nbytes)
