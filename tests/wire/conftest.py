"""One real server for all suites over the wire; each deploys what it needs, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.operating import Operator
from tests.support.server import Running
from tests.support.server import server as running_server
from tests.support.weights import smollm2_q4_1
from tests.support.wire_models import (
    COLOUR_MANIFEST,
    WORD_VECTORS_MANIFEST,
    dominant_colour,
    word_vectors,
)

CHAT_MANIFEST = """\
name: chat
task: chat
files: {model: smollm2.gguf}
defaults: {system: You are a helpful assistant., temperature: 0}
limits: {context: 1024}
"""


@pytest.fixture(scope="session")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A server without models, and its operator."""
    data = tmp_path_factory.mktemp("wire") / "data"
    with running_server(data) as running:
        operator = Operator(running)
        yield operator
        operator.close()


@pytest.fixture(scope="session")
def chat(wired: Operator) -> Running:
    """The server with SmolLM2 deployed as `chat`."""
    weights = smollm2_q4_1()
    wired.register_manifest(CHAT_MANIFEST, {"model": weights})
    wired.deploy("chat", engine_options={"slots": 4})
    wired.load("chat")
    return wired.server


@pytest.fixture(scope="session")
def words(wired: Operator) -> Running:
    """The server with a tiny text embedding model deployed as `words`."""
    model, tokenizer = word_vectors()
    manifest = WORD_VECTORS_MANIFEST.format(name="words")
    wired.register_manifest(manifest, {"model": model, "tokenizer": tokenizer})
    wired.deploy("words")
    wired.load("words")
    return wired.server


@pytest.fixture(scope="session")
def colours(wired: Operator) -> Running:
    """The server with an image classifier deployed as `colours`."""
    wired.register_manifest(COLOUR_MANIFEST.format(name="colours"), {"model": dominant_colour()})
    wired.deploy("colours")
    wired.load("colours")
    return wired.server
