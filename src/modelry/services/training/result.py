"""What came of a run, kept as its last checkpoint until the version is registered.

An attempt that finds it there does not train: it only registers. So a server that is killed
between the last step and the registration loses nothing, and a version comes of a job once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from modelry.services.training.serving import MadeFile

_MARK = b"modelry-trained-1\n"
LAST_STEP = 2**53 - 1
"""The step of the checkpoint that is a result: after all others."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained model: its manifest without the name, its files, and what was measured."""

    manifest: Mapping[str, Any]
    files: Mapping[str, MadeFile]
    metrics: Mapping[str, float]
    parity: Mapping[str, Any]
    weights_digest: str
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return _MARK + orjson.dumps(
            {
                "manifest": self.manifest,
                "files": {role: asdict(one) for role, one in self.files.items()},
                "metrics": self.metrics,
                "parity": self.parity,
                "weights_digest": self.weights_digest,
                "environment": self.environment,
            }
        )


def read_result(file: Path) -> TrainingResult | None:
    """The result in a checkpoint's file; None when it is the state of a run."""
    with file.open("rb") as source:
        if source.read(len(_MARK)) != _MARK:
            return None
        kept = orjson.loads(source.read())
    files = {role: MadeFile(**one) for role, one in kept.pop("files").items()}
    return TrainingResult(files=files, **kept)
