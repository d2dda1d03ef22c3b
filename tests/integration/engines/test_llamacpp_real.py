"""llama.cpp with a real model, in a worker process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.support.chat_behaviour import MANIFEST, SLOTS, ChatBehaviour, ask
from tests.support.weights import smollm2_q4_1
from tests.support.worker_child import WorkerChild, worker_child

from modelry.domain.errors import ContextLengthExceeded, InvalidInput, ModelFailed
from modelry.runtime_api.engine import LoadSpec


def spec(path: Path, task: str = "chat", manifest: Any = MANIFEST, **options: Any) -> LoadSpec:
    return LoadSpec(task, "llamacpp", manifest, {"model": path}, options)


@pytest.fixture(scope="module")
def weights() -> Path:
    return smollm2_q4_1()


@pytest.fixture(scope="module")
def child(weights: Path) -> Iterator[WorkerChild]:
    with worker_child(spec(weights, slots=SLOTS)) as child:
        yield child


class TestLlamaCpp(ChatBehaviour):
    top_logprobs: ClassVar[int] = 3

    def test_biases_forbid_and_force_tokens(self, child: WorkerChild) -> None:
        question = "What is the capital of France?"
        assert not child.generate(ask(question, 4, logit_bias={504: -100})).text().startswith("The")
        assert child.generate(ask(question, 3, logit_bias={7042: 100})).text() == " Paris" * 3

    def test_cached_tokens_are_told(self, child: WorkerChild) -> None:
        request = ask("How many legs has a spider?", 2)
        child.generate(request)
        assert child.generate(request).usage.cached_tokens >= 20

    def test_contradictory_schemas_are_refused(self, child: WorkerChild) -> None:
        with pytest.raises(InvalidInput, match="greater than"):
            child.generate(ask("Hi", json_schema={"type": "integer", "minimum": 5, "maximum": 4}))


def test_prompts_are_not_reused_between_tenants(weights: Path) -> None:
    """Every order in which an owner and two guests can meet at one prompt, on two slots."""
    question = "Which of our secret projects is called Nightingale, and why?"
    with worker_child(spec(weights, slots=2)) as child:

        def cached(salt: str, **more: Any) -> int:
            return child.generate(ask(question, 2, cache_salt=salt, **more)).usage.cached_tokens

        assert cached("") == 0
        assert cached("") > 20
        assert cached("guest") == 0
        assert cached("guest") > 20
        assert cached("other") == 0
        assert cached("") == 0, "both slots hold what others asked"
        assert cached("") > 20
        assert cached("guest") == 0
        assert cached("guest", n=2) == 0
        assert cached("other") == 0
        assert cached("other") > 20
        text = [child.generate(ask(question, 8, cache_salt=salt)).text() for salt in ("", "guest")]
        assert text[0] == text[1]


def test_prompts_are_not_reused_when_many_call_at_once(weights: Path) -> None:
    """Each tenant asks its own question over and over; the first words are the same for all."""
    with worker_child(spec(weights, slots=3)) as child:
        found: dict[str, list[int]] = {}

        def converse(salt: str) -> None:
            question = ask("The password of tenant " + (salt or "owner") * 12, 2, cache_salt=salt)
            found[salt] = [child.generate(question).usage.cached_tokens for _ in range(5)]

        common = child.generate(ask("The password of tenant", 1, cache_salt="common"))
        threads = [threading.Thread(target=converse, args=(salt,)) for salt in ("", "a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {salt: cached[0] for salt, cached in found.items()} == dict.fromkeys(found, 0)
        assert common.usage.cached_tokens == 0


def test_a_file_that_is_cut_off_is_refused_with_the_reason(weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFailed, match=r"cut off.*sha256"), worker_child(spec(cut)):
        pass


def test_what_only_the_engine_notices_is_told_in_its_words(weights: Path, tmp_path: Path) -> None:
    raw = bytearray(weights.read_bytes())
    key = b"llama.block_count"
    raw[raw.find(key) + len(key) + 4] = 99  # layers, where the file has 30
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(raw)
    with pytest.raises(ModelFailed) as caught, worker_child(spec(damaged)):
        pass
    assert "'model.gguf'" in caught.value.message
    assert "blk.30.attn_norm.weight" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_embeddings(weights: Path) -> None:
    manifest = {"limits": {"context": 64}}
    with worker_child(spec(weights, "text-embedding", manifest, slots=2)) as child:
        vectors, usage = child.embed(["a cat", "a dog", "the price of oil", [504, 3575]])
        assert vectors.shape == (4, 576)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
        assert usage["input_tokens"] == 10
        with pytest.raises(ContextLengthExceeded) as caught:
            child.embed(["fine", "word " * 80])
        assert caught.value.param == "input[1]"
        with pytest.raises(InvalidInput):
            child.embed(["fine", ""])
        with pytest.raises(InvalidInput, match="49151"):
            child.embed([[49152]])


def test_a_worker_ends_cleanly_with_a_stream_running(weights: Path) -> None:
    with worker_child(spec(weights, slots=1)) as child:
        streaming = threading.Event()
        story = ask("Write a very long story about a ship.", 1000)

        def stream() -> None:
            with pytest.raises(EOFError):
                child.generate(story, lambda *_: streaming.set())

        thread = threading.Thread(target=stream)
        thread.start()
        assert streaming.wait(30)
        assert child.close() == 0
        thread.join(10)
        assert not thread.is_alive()
