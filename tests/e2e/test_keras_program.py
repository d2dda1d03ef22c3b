"""The Keras program of the documentation, against a server as a user starts it."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from sklearn.datasets import load_digits
from tests.support.keras_models import KERAS_2, TENSORFLOW
from tests.support.server import server

from modelry.client import Client
from modelry.client.errors import JobFailed

# Keras turns tensors into arrays in a way that numpy 2 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X, Y = load_digits(return_X_y=True)
X = (X.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
TRAIN, TEST = slice(0, 1200), slice(1200, None)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with (
        server(tmp_path_factory.mktemp("keras") / "data", work_threads="1") as running,
        Client(running.url, running.key) as client,
    ):
        yield client


def program():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 1))])
    model.add(Conv2D(16, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2)))
    model.add(Flatten())
    model.add(Dense(10, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def test_the_program_trains_deploys_predicts_and_gives_the_model_back(client):
    events = []
    job = client.train(program(), (X[TRAIN], Y[TRAIN]), epochs=4, name="digits")
    job.wait(progress=events.append)
    assert job.version == "digits@1"
    curves = {step: point for event in events for step, point in event.data.get("points", ())}
    assert curves[4 * 38]["loss"] < curves[38]["loss"]
    deployment = client.deploy(job.version)
    assert (deployment.name, deployment.model) == ("digits", "digits")
    predictions = client.predict(deployment, X[TEST])
    assert predictions.shape == (597, 10)
    assert (predictions.argmax(axis=1) == Y[TEST]).mean() > 0.85
    trained = job.keras_model()
    assert np.abs(trained.predict(X[TEST], verbose=0) - predictions).max() <= 1e-4
    # a channel axis may be left out, other types are converted, and one row is enough
    assert np.array_equal(client.predict("digits", X[TEST][:1, ..., 0].astype(np.float64)),
                          client.predict("digits", X[TEST][:1]))  # fmt: skip
    assert client.training.lineage("digits", 1).dataset == "digits-data@1"


def test_a_file_of_tensorflow_is_trained_and_one_of_keras_2_is_told(client):
    y = np.arange(1200) % 3
    job = client.train(TENSORFLOW, (X[TRAIN], y), dataset="thirds", name="tf", batch_size=600)
    assert job.wait(progress=False).version == "tf@1"
    refused = client.train(str(KERAS_2), "thirds", name="old")
    with pytest.raises(JobFailed, match="Save the model again with Keras 3"):
        refused.wait(progress=False)


def test_a_search_finds_parameters_for_the_same_model(client):
    (first,) = (one for one in client.jobs.list(kind="train") if one.version == "digits@1")
    search = client.jobs.submit(
        "search",
        {
            "training": {
                "recipe": "keras",
                "dataset": "digits-data",
                "model": "found",
                "parameters": {"batch_size": 200, "validation_share": 0.2},
                "base_files": first.record.parameters["base_files"],
            },
            "space": {"learning_rate": [0.001, 0.01]},
            "metric": "val_accuracy",
            "trials": 2,
        },
    )
    search.wait(progress=False)
    best = search.outcome["best"]
    assert best["value"] == max(one["value"] for one in search.outcome["trials"])
    assert search.version == "found@1"
    found = client.training.lineage("found", 1).parameters
    assert found["learning_rate"] == best["parameters"]["learning_rate"]
