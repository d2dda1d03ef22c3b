from collections.abc import Iterator

import pytest
from tests.support.answering import KEY, answering

from modelry import Client


@pytest.fixture(scope="module")
def doors() -> Iterator[str]:
    with answering() as url:
        yield url


@pytest.fixture
def client(doors: str) -> Iterator[Client]:
    with Client(doors, KEY) as made:
        yield made
