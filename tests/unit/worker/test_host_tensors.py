import threading
import time

import numpy as np
import pytest
from tests.support.onnx_models import spec_for, tiny_cnn
from tests.support.worker_harness import Doubling, hosted, outputs_of

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.frames import Kind

X = TensorSpec("x", Datatype.FP32, (-1, -1))
Y = TensorSpec("y", Datatype.FP32, (-1, -1))
BATCHED = Signature((X,), (Y,), batched=True)
ALONE = Signature((X,), (Y,), batched=False)


def array(*rows):
    return np.array(rows, np.float32)


class Held(Doubling):
    """Runs when `go` is set; fails on rows that hold 13."""

    def __init__(self, signature=BATCHED):
        super().__init__(signature)
        self.entered = threading.Event()
        self.go = threading.Event()

    def infer(self, inputs, stop):
        stopped = threading.Event()
        stop.subscribe(stopped.set)
        self.entered.set()
        while not self.go.wait(0.002):
            if stopped.is_set():
                raise Cancelled("stopped")
        if (inputs["x"] == 13).any():
            self.runs.append(-len(inputs["x"]))
            raise ModelFailed("13 is more than this model can take")
        return super().infer(inputs, stop)


def test_a_real_onnx_model_is_loaded_measured_and_run(tmp_path):
    with hosted() as gateway:
        ready = gateway.load(spec_for(tiny_cnn(), tmp_path))
        assert ready.kind == Kind.READY, ready.header
        told = ready.json()
        assert told["abilities"] == ["tensors"]
        assert told["batch_max"] >= 1
        assert told["capacity"] >= 4
        assert Signature.from_wire(told["signature"]).batched
        images = np.random.default_rng(1).random((9, 1, 28, 28), np.float32)
        for number in range(9):
            gateway.infer(number + 1, {"x": images[number : number + 1]})
        single = gateway.answers(9)
        gateway.infer(100, {"x": images})
        whole = outputs_of(gateway.answers(1)[100])["y"]
        for number in range(9):
            got = outputs_of(single[number + 1])["y"]
            np.testing.assert_allclose(got, whole[number : number + 1], rtol=1e-4, atol=1e-4)


def test_a_load_error_is_told_and_ends_the_worker(tmp_path):
    with hosted() as gateway:
        answer = gateway.load(spec_for(b"no onnx at all", tmp_path))
        assert (answer.kind, answer.call_id) == (Kind.ERROR, 0)
        assert "tested.onnx" in answer.json()["message"]
        assert str(tmp_path) not in answer.json()["message"]
        assert gateway.exit_status() == 1


def test_what_queues_up_during_a_run_is_the_next_batch():
    engine = Held()
    with hosted(engine, max_rows=4) as gateway:
        gateway.infer(1, {"x": array([1, 2])})
        engine.entered.wait(5)
        for number in range(2, 8):
            gateway.infer(number, {"x": array([number, 0])})
        gateway.infer(8, {"x": array([8, 8, 8])})
        time.sleep(0.1)
        engine.go.set()
        answers = gateway.answers(8)
    assert outputs_of(answers[5])["y"].tolist() == [[10, 0]]
    assert outputs_of(answers[8])["y"].tolist() == [[16, 16, 16]]
    assert engine.runs == [1, 4, 2, 1]


def test_calls_of_several_rows_are_put_together_and_large_ones_taken_apart():
    engine = Held()
    with hosted(engine, max_rows=4) as gateway:
        gateway.infer(1, {"x": array([0])})
        engine.entered.wait(5)
        gateway.infer(2, {"x": array([1], [2])})
        gateway.infer(3, {"x": array([3], [4], [5])})
        gateway.infer(4, {"x": np.arange(10, dtype=np.float32).reshape(10, 1)})
        gateway.infer(5, {"x": np.zeros((0, 1), np.float32)})
        time.sleep(0.1)
        engine.go.set()
        answers = gateway.answers(5)
    assert outputs_of(answers[3])["y"].tolist() == [[6], [8], [10]]
    assert outputs_of(answers[4])["y"].ravel().tolist() == [2 * n for n in range(10)]
    assert outputs_of(answers[5])["y"].shape == (0, 1)
    assert engine.runs == [1, 2, 3, 4, 4, 2, 0]


def test_one_poisoned_request_fails_alone():
    engine = Held()
    with hosted(engine, max_rows=16) as gateway:
        gateway.infer(1, {"x": array([0])})
        engine.entered.wait(5)
        for number in range(2, 12):
            gateway.infer(number, {"x": array([13 if number == 7 else number])})
        time.sleep(0.1)
        engine.go.set()
        answers = gateway.answers(11)
    assert answers[7].kind == Kind.ERROR
    assert "13" in answers[7].json()["message"]
    assert all(answers[n].kind == Kind.RESULT for n in answers if n != 7)


@pytest.mark.parametrize(
    ("entry", "body", "said"),
    [
        ({"name": "z", "datatype": "FP32", "shape": [1, 1], "size": 4}, 4, "Unknown input"),
        ({"name": "x", "datatype": "FP64", "shape": [1, 1], "size": 8}, 8, "datatype FP64"),
        ({"name": "x", "datatype": "FP32", "shape": [1], "size": 4}, 4, "shape"),
        ({"name": "x", "datatype": "FP32", "shape": [1, 1], "size": 8}, 8, "8 bytes"),
        ({"name": "x", "datatype": "FP32", "shape": [1, 1], "size": 4}, 3, "3 bytes"),
        ({"name": "x", "datatype": "FP32", "shape": [-1, 1], "size": 4}, 4, "shape"),
        ({"name": "x"}, 0, "KeyError"),
    ],
)
def test_wrong_tensors_are_refused_and_the_next_call_works(entry, body, said):
    with hosted(Doubling(BATCHED)) as gateway:
        gateway.send(Kind.INFER, 1, {"inputs": [entry], "outputs": []}, b"\0" * body)
        refused = gateway.answers(1)[1]
        assert refused.kind == Kind.ERROR
        assert said in refused.json()["message"]
        gateway.infer(2, {"x": array([4])})
        assert outputs_of(gateway.answers(1)[2])["y"].tolist() == [[8]]


def test_unbatched_signatures_run_call_by_call():
    engine = Held(ALONE)
    with hosted(engine) as gateway:
        gateway.infer(1, {"x": array([1])})
        engine.entered.wait(5)
        gateway.infer(2, {"x": array([2])})
        gateway.infer(3, {"x": array([3])})
        engine.go.set()
        gateway.answers(3)
    assert engine.runs == [1, 1, 1]


def test_outputs_without_the_promised_batch_dimension_are_found_out_once():
    class Summing(Held):
        def infer(self, inputs, stop):
            return {"y": super().infer(inputs, stop)["y"].sum(axis=0, keepdims=True)}

    engine = Summing()
    with hosted(engine) as gateway:
        for round_number in range(2):
            engine.go.clear()
            engine.entered.clear()
            gateway.infer(1, {"x": array([1])})
            engine.entered.wait(5)
            for number in (2, 3, 4):
                gateway.infer(number, {"x": array([number])})
            time.sleep(0.1)
            engine.go.set()
            answers = gateway.answers(4)
            assert outputs_of(answers[3])["y"].tolist() == [[6]]
            assert engine.runs == [[1, 3, 1, 1, 1], [1, 1, 1, 1]][round_number]
            engine.runs.clear()


def test_cancelled_calls_are_stopped_or_never_run():
    engine = Held()
    with hosted(engine) as gateway:
        gateway.infer(1, {"x": array([1])})
        engine.entered.wait(5)
        gateway.infer(2, {"x": array([2])})
        gateway.send(Kind.CANCEL, 2)
        assert gateway.answers(1)[2].json()["code"] == "cancelled"
        gateway.send(Kind.CANCEL, 1)
        assert gateway.answers(1)[1].json()["code"] == "cancelled"
        gateway.send(Kind.CANCEL, 77)
        engine.go.set()
        gateway.infer(3, {"x": array([3])})
        assert gateway.answers(1)[3].kind == Kind.RESULT
    assert engine.runs == [1]


def test_a_batch_goes_on_while_one_of_its_callers_waits():
    engine = Held()
    with hosted(engine) as gateway:
        gateway.connection.sendall(
            gateway.infer_frame(1, {"x": array([1])}) + gateway.infer_frame(2, {"x": array([2])})
        )
        engine.entered.wait(5)
        gateway.send(Kind.CANCEL, 1)
        time.sleep(0.1)
        engine.go.set()
        answers = gateway.answers(2)
    assert outputs_of(answers[2])["y"].tolist() == [[4]]


def test_deadlines_end_waiting_and_running_calls():
    engine = Held()
    with hosted(engine) as gateway:
        gateway.infer(1, {"x": array([1])}, ms=150)
        engine.entered.wait(5)
        gateway.infer(2, {"x": array([2])}, ms=50)
        answers = gateway.answers(2)
        assert {answer.json()["code"] for answer in answers.values()} == {"deadline_exceeded"}
    assert engine.runs == []


def test_heart_beats_are_answered_during_a_long_run():
    engine = Held()
    with hosted(engine) as gateway:
        gateway.send(Kind.PING, 0)
        assert gateway.receive().json() == {"busy_s": 0.0}
        gateway.infer(1, {"x": array([1])})
        engine.entered.wait(5)
        time.sleep(0.1)
        gateway.send(Kind.PING, 0)
        pong = gateway.receive()
        assert pong.kind == Kind.PONG
        assert 0.05 < pong.json()["busy_s"] < 5
        engine.go.set()
        gateway.answers(1)


def test_draining_answers_the_open_calls_and_ends():
    engine = Held()
    with hosted(engine) as gateway:
        gateway.infer(1, {"x": array([1])})
        engine.entered.wait(5)
        gateway.infer(2, {"x": array([2])})
        gateway.send(Kind.DRAIN, 0)
        gateway.infer(3, {"x": array([3])})
        refused = gateway.answers(1)
        assert refused[3].json()["code"] == "replica_lost"
        engine.go.set()
        assert all(frame.kind == Kind.RESULT for frame in gateway.answers(2).values())
        assert gateway.receive().kind == Kind.DRAINED
        assert gateway.exit_status() == 0
    assert engine.closed


def test_an_engine_that_raises_anything_fails_its_call_only(capsys):
    class Broken(Doubling):
        def infer(self, inputs, stop):
            if (inputs["x"] == 1).all():
                raise MemoryError
            if (inputs["x"] == 2).all():
                raise ZeroDivisionError("secret /path")
            return super().infer(inputs, stop)

    with hosted(Broken(BATCHED)) as gateway:
        told = []
        for number in (1, 2, 3):
            gateway.infer(number, {"x": array([number])})
            told.append(gateway.answers(1)[number])
    assert "memory" in told[0].json()["message"]
    assert told[1].json()["code"] == "model_failed"
    assert "secret" not in told[1].json()["message"]
    assert told[2].kind == Kind.RESULT
    assert "secret" in capsys.readouterr().err


def test_bytes_that_are_no_frame_end_the_worker():
    with hosted(Doubling(BATCHED)) as gateway:
        gateway.connection.sendall(b"\xff" * 24)
        assert gateway.exit_status() == 0


def test_calls_before_the_load_are_refused():
    with hosted() as gateway:
        gateway.infer(1, {"x": array([1])})
        assert gateway.answers(1)[1].json()["code"] == "replica_lost"
        answer = gateway.load(LoadSpec("tensor", "no-such-runtime", {}, {}))
        assert "no-such-runtime" in answer.json()["message"]


def test_a_defect_of_the_reading_thread_ends_the_worker_instead_of_hanging(monkeypatch, capsys):
    with hosted(Doubling(BATCHED)) as gateway:

        def broken(_frames):
            raise MemoryError("no room for what came")

        monkeypatch.setattr(gateway.host, "_dispatch", broken)
        gateway.send(Kind.PING, 0)
        assert gateway.exit_status() == 70
    assert "no room" in capsys.readouterr().err
