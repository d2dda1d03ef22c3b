"""Python, the runtimes' libraries, SQLite."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from modelry.cli.checks.finding import Finding, bad, good, note

LEAST_PYTHON = (3, 11)
LIBRARY_OF_RUNTIME = {"onnx": "onnxruntime", "llamacpp": "xllamacpp", "openvino": "openvino"}
OPTIONAL_RUNTIMES = frozenset({"openvino"})
IMPORT_TIMEOUT_S = 120
_LOAD = (
    "import sys; from modelry.runtime_api.registry import load_runtime; load_runtime(sys.argv[1])"
)


def software() -> Iterator[Finding]:
    """What is installed."""
    yield python_version(sys.version_info[:3])
    from modelry.runtime_api.registry import runtime_names

    for name in runtime_names():
        yield _runtime(name)
    torchvision = installed("torchvision")
    if torchvision is not None:
        yield bad(
            "torchvision",
            f"{torchvision} is installed",
            "With the CPU build of torch its import fails (torchvision::nms does not exist), "
            "which breaks every library that tries it. Modelry never needs it: "
            "pip uninstall torchvision.",
        )
    yield sqlite(sqlite3.sqlite_version_info)


def installed(package: str) -> str | None:
    """The version of an installed package; it is not imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def python_version(found: tuple[int, ...]) -> Finding:
    """Whether this Python is new enough."""
    shown = ".".join(str(part) for part in found)
    if found[:2] >= LEAST_PYTHON:
        return good("python", shown)
    least = ".".join(str(part) for part in LEAST_PYTHON)
    return bad("python", shown, f"Use Python {least} or newer.")


def _runtime(name: str) -> Finding:
    """Whether a runtime can be imported; in a process of its own, as workers do."""
    label = f"runtime {name}"
    library = LIBRARY_OF_RUNTIME.get(name)
    found = installed(library) if library else None
    if library is not None and found is None:
        command = f"pip install 'modelry[{name}]'"
        if name in OPTIONAL_RUNTIMES:
            return note(
                label, f"{library} is not installed; it is an extra", f"To add it: {command}."
            )
        return bad(label, f"{library} is not installed", f"Install it: pip install {library}.")
    shown = f"{library} {found}" if library else "importable"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", _LOAD, name],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        return bad(label, f"{shown} does not import in {IMPORT_TIMEOUT_S} s", "Reinstall it.")
    if done.returncode == 0:
        return good(label, shown)
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return bad(label, f"{shown} cannot be imported: {last[:300]}", "Reinstall it.")


def sqlite(found: tuple[int, ...]) -> Finding:
    """Whether this SQLite may use its write-ahead log."""
    from modelry.adapters.sql.engine import is_wal_safe

    shown = ".".join(str(part) for part in found)
    major, minor, patch = (*found, 0, 0, 0)[:3]
    if is_wal_safe((major, minor, patch)):
        return good("sqlite", shown)
    return note(
        "sqlite",
        f"{shown} can corrupt databases in WAL mode",
        "Modelry uses the slower rollback journal instead. Versions from 3.51.3 are good.",
    )
