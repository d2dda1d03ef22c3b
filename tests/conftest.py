"""Fixtures and settings for all tests."""

import pytest
from hypothesis import settings

# how long an example takes says more about what else runs on the machine than about the code
settings.register_profile("modelry", deadline=None)
settings.load_profile("modelry")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
