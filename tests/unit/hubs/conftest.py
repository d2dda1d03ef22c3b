"""Fixtures for tests of fetching."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fetching import Fetching
from tests.support.web_places import Place, place_on_loopback


@pytest.fixture
def fetch(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


@pytest.fixture
def place() -> Iterator[Place]:
    with place_on_loopback() as running:
        yield running


@pytest.fixture
def other_place() -> Iterator[Place]:
    with place_on_loopback() as running:
        yield running
