"""Finds the file to load in a load specification."""

from __future__ import annotations

from pathlib import Path

from modelry.domain.errors import ModelFailed
from modelry.runtime_api.engine import LoadSpec


def main_file(spec: LoadSpec) -> Path:
    """The path of the file with the role `model`.

    Raises:
        ModelFailed: the specification has none, or it is not there to be read.
    """
    path = spec.files.get("model")
    if path is None:
        roles = ", ".join(sorted(spec.files)) or "none"
        raise ModelFailed(
            f"The version has no file with the role 'model' (it has: {roles}), so runtime "
            f"'{spec.runtime}' has nothing to load. Register it with 'files: {{model: …}}'."
        )
    if not path.is_file():
        raise ModelFailed(
            "The version's model file is missing on the server. Register the version again."
        )
    return path


def opened(path: Path) -> Path:
    """Where a link of the model's folder leads, for readers that follow none themselves."""
    return path.readlink() if path.is_symlink() else path
