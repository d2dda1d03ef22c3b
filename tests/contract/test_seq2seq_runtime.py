"""The runtimes' suite, for sequence models, on one whose answers are known."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support import sequence_models
from tests.support.onnx_models import tiny_cnn

from modelry.domain.errors import Cancelled, InvalidInput, ModelFailed
from modelry.processing.sequences.batch import SearchBatch
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.text_to_text import TextOptions
from modelry.runtimes.seq2seq import Seq2SeqRuntime
from modelry.testing.runtime import AnswerScoresContract, LoadingContract, TextToTextContract


class Given:
    runtime_class = Seq2SeqRuntime

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        return sequence_models.spec_for(folder)


class TestLoading(Given, LoadingContract):
    pass


class TestTexts(Given, TextToTextContract, AnswerScoresContract):
    questions = ("the cat sleeps", "the mouse", "cat")
    options = TextOptions()
    # no longer than the shortest question with its end: this model reads fillings as words
    answer = "die katze"
    texts = ("the cat eats the mouse", "the mouse sleeps", "cat", "the the the the the the the")

    def test_words_are_looked_up(self, engine: Any) -> None:
        found = self.write(engine, *self.texts[:2])
        assert [one.text for one in found] == ["die katze frisst die maus", "die maus schlaeft"]
        assert [one.input_tokens for one in found] == [6, 4]
        assert [one.output_tokens for one in found] == [5, 3]
        assert all(one.is_complete for one in found)

    def test_half_of_a_surrogate_pair_is_refused(self, engine: Any) -> None:
        with pytest.raises(InvalidInput, match="surrogate"):
            self.write(engine, "the \ud800 cat")


def loaded(folder: Path, contents: dict[str, bytes] | None = None, **more: Any) -> Any:
    return Seq2SeqRuntime().load(sequence_models.spec_for(folder, contents, **more))


def write(engine: Any, *texts: str, **options: Any) -> list[Any]:
    found: list[Any] = engine.write(list(texts), TextOptions(**options), StopSignal())
    return found


def test_defaults_of_the_manifest_are_taken_where_a_request_leaves_them_open(
    tmp_path: Path,
) -> None:
    manifest = {"defaults": {"max_tokens": 2, "beams": 1}, "limits": {"context": 4}}
    engine = loaded(tmp_path, manifest=manifest)
    assert engine.context_length == 4
    assert write(engine, "the cat sleeps")[0].text == "die katze"
    assert write(engine, "the cat sleeps", max_tokens=9)[0].text == "die katze schlaeft"
    engine.close()


def test_one_text_that_breaks_the_engine_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    bad = sequence_models.WORDS.index("mouse")
    engine = loaded(tmp_path, sequence_models.files(breaks_on=bad))
    together = threading.Barrier(2, timeout=30)
    found: dict[str, Any] = {}

    def call(name: str, text: str) -> None:
        together.wait()
        try:
            found[name] = write(engine, *[text] * 20)
        except ModelFailed as error:
            found[name] = error

    threads = [
        threading.Thread(target=call, args=one)
        for one in (("good", "the cat sleeps"), ("bad", "cat cat cat mouse"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [one.text for one in found["good"]] == ["die katze schlaeft"] * 20
    assert isinstance(found["bad"], ModelFailed)
    assert "ONNX Runtime failed" in found["bad"].message
    assert write(engine, "the cat")[0].text == "die katze"
    engine.close()


def test_log_probabilities_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    engine = loaded(tmp_path, sequence_models.files(gives_nan=True))
    with pytest.raises(ModelFailed, match="no numbers"):
        write(engine, "the cat", "the mouse")
    engine.close()


def test_more_texts_than_rows_take_turns(tmp_path: Path) -> None:
    engine = loaded(tmp_path, rows=2)
    assert [one.text for one in write(engine, *["the cat"] * 30, beams=4)] == ["die katze"] * 30
    engine.close()


def test_no_call_waits_for_ever_when_the_loop_itself_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(tmp_path)

    def no_memory(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(SearchBatch, "drop", no_memory)
        with pytest.raises(ModelFailed, match="memory"):
            write(engine, "the cat", "the mouse sleeps")
    assert write(engine, "the cat")[0].text == "die katze"
    engine.close()


def test_closing_fails_what_is_running(tmp_path: Path) -> None:
    engine = loaded(tmp_path, rows=1)
    ended: list[BaseException] = []

    def call() -> None:
        try:
            write(engine, *["the cat eats the mouse"] * 2000)
        except (ModelFailed, Cancelled) as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    engine.close()
    thread.join(30)
    assert len(ended) == 1
    with pytest.raises(ModelFailed, match="unloaded"):
        write(engine, "the cat")


@pytest.mark.parametrize("role", ["encoder", "decoder", "tokenizer"])
def test_a_missing_file_is_named(tmp_path: Path, role: str) -> None:
    contents = sequence_models.files()
    del contents[role]
    with pytest.raises(ModelFailed, match=f"role '{role}'"):
        loaded(tmp_path, contents)


def description(**changes: Any) -> bytes:
    return json.dumps({**sequence_models.MODEL.to_json(), **changes}).encode()


@pytest.mark.parametrize(
    ("role", "content", "told"),
    [
        ("model", description(layers=2), "lacks 'memory.1.key'"),
        ("model", description(vocabulary=5), "they do not belong together"),
        ("model", description(head_size=7), "do not do a step together"),
        ("model", description(end=0), "must be different"),
        ("model", description(format_version=9), "version 9"),
        ("model", description(copies=True), "lacks 'memory.copy'"),
        ("model", description(copies=1), "expected true or false"),
        ("model", b"[]", "not an object"),
        ("encoder", tiny_cnn().SerializeToString(), "the inputs of the encoder"),
        ("decoder", sequence_models.encoder().SerializeToString(), "the inputs of the decoder"),
        ("decoder", b"nothing", "cannot load"),
        ("tokenizer", b"{}", "cannot be loaded"),
    ],
)
def test_files_that_do_not_fit_each_other_are_told(
    tmp_path: Path, role: str, content: bytes, told: str
) -> None:
    with pytest.raises(ModelFailed, match=told):
        loaded(tmp_path, {**sequence_models.files(), role: content})
