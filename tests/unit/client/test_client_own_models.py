"""What is told of models and data before anything is sent, and how rows are cut and fitted."""

import json
from pathlib import Path

import httpx2
import numpy as np
import pytest

from modelry.client import Client
from modelry.client.errors import InvalidInput, TensorMismatch
from modelry.client.keras_models import clean_name, is_keras_model, load_model, name_of


class Model:
    """Looks like one of Keras, which is not imported."""

    name = "My Model"

    def save(self, path):
        raise ValueError("cannot be saved")


Model.__module__ = "keras.src.models.sequential"


def server(shape, outputs=("y",), datatype="FP32", inputs=("x",)):
    """A server that answers each row with the sum of its values, and notes how many came."""
    sizes = []

    def answer(request):
        path = request.url.path
        if path.endswith("/ready"):
            return httpx2.Response(200)
        if not path.endswith("/infer"):
            told = [{"name": name, "datatype": datatype, "shape": shape} for name in inputs]
            return httpx2.Response(200, json={"name": "m", "inputs": told})
        length = int(request.headers["inference-header-content-length"])
        head = json.loads(request.content[:length])
        (first, *_) = head["inputs"]
        assert first["datatype"] == datatype
        assert len(first["shape"]) == len(shape)
        rows = first["shape"][0]
        sizes.append(rows)
        values = np.frombuffer(
            request.content[length:][: rows * 4 * int(np.prod(shape[1:]))], "<f4"
        )
        sums = values.reshape(rows, -1).sum(axis=1).astype("<f4").tobytes()
        entry = {"datatype": "FP32", "shape": [rows], "parameters": {"binary_data_size": len(sums)}}
        body = json.dumps({"outputs": [{"name": name, **entry} for name in outputs]}).encode()
        return httpx2.Response(
            200,
            headers={"inference-header-content-length": str(len(body))},
            content=body + sums * len(outputs),
        )

    client = Client("http://test", "key", transport=httpx2.MockTransport(answer))
    return client, sizes


def test_rows_are_sent_in_pieces_and_answers_joined():
    client, sizes = server([-1, 2])
    x = np.arange(20_000).reshape(-1, 2)
    assert np.array_equal(client.predict("m", x), x.sum(axis=1).astype(np.float32))
    assert sizes == [4096, 4096, 1808]
    client, sizes = server([-1, 1000, 1000])
    client.predict("m", np.ones((3, 1000, 1000), np.uint8))
    assert sizes == [1, 1, 1]


def test_a_channel_may_be_left_out_and_lists_are_arrays():
    client, _ = server([-1, 2, 2, 1])
    assert client.predict("m", [[[1, 2], [3, 4]]]).tolist() == [10.0]


def test_several_outputs_are_told_by_name():
    client, _ = server([-1, 1], outputs=("a", "b"))
    found = client.predict("m", [[1], [2]])
    assert {name: one.tolist() for name, one in found.items()} == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("x", [{"one": [[1]]}, [[[1]], [[1]], [[1]]], {"one": [[1]], "three": []}])
def test_inputs_must_all_be_there(x):
    client, _ = server([-1, 1], inputs=("one", "two"))
    with pytest.raises(TensorMismatch, match="takes one, two"):
        client.predict("m", x)


@pytest.mark.parametrize("x", [[], {"one": [[1]], "two": [[1], [2]]}])
def test_as_many_rows_must_be_in_all(x):
    names = ("one", "two") if isinstance(x, dict) else ("x",)
    client, _ = server([-1, 1], inputs=names)
    with pytest.raises(TensorMismatch, match="rows; expected as many in all"):
        client.predict("m", x)


def test_a_keras_model_is_known_without_keras():
    assert is_keras_model(Model())
    assert not is_keras_model(Path("x.keras"))
    assert not is_keras_model("image-classification")
    assert name_of(Model()) == "my-model"
    assert name_of("folder/Digits v2.keras") == "digits-v2"
    assert clean_name("...") == "model"
    assert len(clean_name("x" * 100)) == 64


@pytest.mark.parametrize(
    ("model", "data", "options", "expected"),
    [
        (3, "data", {}, "A int cannot be trained; expected a Keras model"),
        ("missing.keras", "data", {}, "'missing.keras' is not there"),
        (Path("missing"), "data", {}, "'missing' is not there"),
        (Model(), "data", {}, "Keras cannot save the model: cannot be saved"),
        ("tabular", 3, {}, "'data' is a int; expected the name of a dataset"),
        ("tabular", ([1], [2], [3]), {}, "expected the name of a dataset, or arrays"),
        ("tabular", "data", {"validation_data": ([1], [2])}, "goes with arrays"),
        ("tabular", ([1], [2]), {"validation_data": [1]}, "'validation_data' is a list"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_sent(model, data, options, expected):
    def refuse(request):
        raise AssertionError(f"{request.method} {request.url} was sent")

    client = Client("http://test", "key", transport=httpx2.MockTransport(refuse))
    with pytest.raises(InvalidInput, match=expected):
        client.train(model, data, **options)


def test_without_keras_the_file_can_be_had(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keras", None)
    with pytest.raises(InvalidInput, match="Keras is not installed here"):
        load_model(b"")
