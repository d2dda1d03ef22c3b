"""PREDICT calls on engines that write texts for texts."""

from __future__ import annotations

import time

import pytest
from tests.support import sequence_models
from tests.support.worker_harness import hosted

from modelry.domain.errors import Cancelled
from modelry.domain.signature import NO_TENSORS
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.text_to_text import TextOptions, WrittenText


class Slow:
    """Writes a text in capitals, a letter each 2 ms."""

    signature = NO_TENSORS
    capacity = 2
    context_length = 100

    def __init__(self):
        self.options = []
        self.letters = 0

    def write(self, texts, options, stop):
        self.options.append(options)
        written = []
        for text in texts:
            for _ in text:
                if stop.is_set():
                    raise Cancelled("stopped")
                self.letters += 1
                time.sleep(0.002)
            written.append(WrittenText(text.upper(), -0.25, True, len(text), len(text)))
        return written

    def close(self):
        pass


def asked(*texts, **options):
    return {"items": [{"text": text} for text in texts], "options": options}


def test_items_are_answered_with_what_they_used():
    engine = Slow()
    with hosted(engine, abilities=("texts",)) as gateway:
        gateway.send(Kind.PREDICT, 1, asked("ab", "c", beams=3))
        gateway.send(Kind.PREDICT, 2, {"items": [{"text": "x"}]})
        answers = gateway.answers(2)
    assert answers[1].json() == {
        "items": [
            {"text": "AB", "score": -0.25, "is_complete": True},
            {"text": "C", "score": -0.25, "is_complete": True},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 3},
        "arrays": [],
    }
    assert answers[2].json()["items"][0]["text"] == "X"
    assert sorted(engine.options, key=str) == [TextOptions(3), TextOptions()]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"items": [{"text": 7}]}, "expected a text"),
        ({"items": [{"tokens": [1]}]}, "tokens"),
        ({"items": [{"text": "x", "text_pair": "y"}]}, "text_pair"),
        (asked("x", beams="2"), "beams"),
        (asked("x", beams=True), "beams"),
        (asked("x", length_penalty=float(9)), "length_penalty"),
        (asked("x", temperature=1), "temperature"),
    ],
)
def test_what_is_no_text_or_option_is_refused(header, told):
    with hosted(Slow(), abilities=("texts",)) as gateway:
        gateway.send(Kind.PREDICT, 1, header)
        answer = gateway.answers(1)[1]
        assert answer.kind == Kind.ERROR
        assert told in answer.json()["message"]
        assert answer.json()["code"] == "invalid_input"


def test_a_cancelled_call_stops_and_the_others_go_on():
    engine = Slow()
    with hosted(engine, abilities=("texts",)) as gateway:
        gateway.send(Kind.PREDICT, 1, asked("x" * 5000))
        gateway.send(Kind.PREDICT, 2, asked("y" * 20))
        gateway.send(Kind.CANCEL, 1)
        answers = gateway.answers(2)
        assert answers[1].json()["code"] == "cancelled"
        assert answers[2].json()["items"][0]["text"] == "Y" * 20
    assert engine.letters < 1000


def test_a_call_whose_time_is_over_is_told_so():
    with hosted(Slow(), abilities=("texts",)) as gateway:
        gateway.send(Kind.PREDICT, 1, asked("x" * 5000), ms=30)
        assert gateway.answers(1)[1].json()["code"] == "deadline_exceeded"


def test_a_sequence_model_is_loaded_and_asked_like_any_other(tmp_path):
    with hosted() as gateway:
        ready = gateway.load(sequence_models.spec_for(tmp_path))
        assert ready.kind == Kind.READY
        assert ready.json()["abilities"] == ["texts"]
        assert ready.json()["capacity"] >= 2
        assert ready.json()["context_length"] == 16
        gateway.send(Kind.PREDICT, 1, asked("the cat sleeps", beams=2))
        gateway.infer(2, {})
        answers = gateway.answers(2)
        assert answers[1].json()["items"][0]["text"] == "die katze schlaeft"
        assert answers[1].json()["usage"] == {"input_tokens": 4, "output_tokens": 3}
        assert answers[2].json()["code"] == "not_supported"
