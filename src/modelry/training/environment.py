"""What a run depends on beside data, parameters and seed: code, libraries, machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import modelry

LIBRARIES = (
    "gensim",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "tokenizers",
    "torch",
)
"""Whose versions may change what comes of a run."""
_CODE = ("training", "processing", "tasks", "datasets", "metrics")


def describe_environment() -> dict[str, Any]:
    """The code, the libraries and the machine of this process, as JSON types.

    `code.digest` covers the sources that a run goes through, so that a changed checkout of one
    release is told from it.
    """
    return {
        "code": {"version": modelry.__version__, "digest": _code_digest()},
        "python": platform.python_version(),
        "libraries": _libraries(),
        "machine": _machine(),
    }


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _code_digest() -> str:
    root = Path(modelry.__file__).parent
    digest = hashlib.sha256()
    for folder in _CODE:
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


def _machine() -> dict[str, Any]:
    told: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        told["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            told["gpu"] = torch.cuda.get_device_name(0)
            told["cuda"] = torch.version.cuda
    return told


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
