"""The official `openai` client fine-tunes a chat model with real weights, and the model answers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.support.chat_models import chat_model
from tests.support.operating import Operator

COLOURS = {"sky": "blue", "grass": "green", "blood": "red", "snow": "white", "coal": "black"}
MANIFEST = """\
name: small
task: chat
files: {model: small.gguf}
defaults: {temperature: 0}
limits: {context: 128}
"""


def question(thing: str) -> dict[str, str]:
    return {"role": "user", "content": f"What colour has {thing}?"}


def conversations() -> bytes:
    lines = [
        {"messages": [question(thing), {"role": "assistant", "content": colour}]}
        for thing, colour in COLOURS.items()
    ]
    return "\n".join(map(json.dumps, lines)).encode()


@pytest.fixture(scope="module")
def client(wired: Operator, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a server with a chat model of random weights, deployed as `talker`, and not loaded."""
    file: Path = chat_model(tmp_path_factory.mktemp("small") / "small.gguf")
    wired.register_manifest(MANIFEST, {"model": file})
    wired.deploy("talker", model="small", version=1, scale={"min_replicas": 0})
    with openai.OpenAI(
        api_key=wired.server.key, base_url=f"{wired.server.url}/v1", max_retries=0, timeout=60
    ) as made:
        yield made


def test_a_chat_model_learns_what_its_examples_say(wired: Operator, client: openai.OpenAI) -> None:
    file = client.files.create(file=("colours.jsonl", conversations()), purpose="fine-tune")
    hyperparameters: Any = {"n_epochs": 24, "batch_size": 5, "learning_rate_multiplier": 40}
    job = client.fine_tuning.jobs.create(
        model="talker",
        training_file=file.id,
        suffix="colours",
        seed=3,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        extra_body={
            "parameters": {
                "rank": 4, "alpha": 8, "max_tokens": 128, "validation_share": 0, "device": "cpu",
            }
        },
    )  # fmt: skip
    give_up = time.monotonic() + 200
    while job.status not in ("succeeded", "failed") and time.monotonic() < give_up:
        time.sleep(0.1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model == f"ft-small-colours-{job.id.removeprefix('ftjob-')}"

    answer = client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=[question("grass")],
        max_completion_tokens=16,  # type: ignore[list-item] # as JSON
    )
    assert answer.choices[0].message.content == "green"
    lineage = wired.call("GET", f"/models/{job.fine_tuned_model}/versions/1/lineage")
    assert (lineage["base"], lineage["recipe"]) == ("small@1", "chat")
    assert lineage["parameters"]["learning_rate"] == pytest.approx(0.02)
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
    assert checkpoint.metrics.train_loss is not None
    assert checkpoint.metrics.train_loss < 0.5


def test_conversations_that_are_none_are_named(client: openai.OpenAI) -> None:
    bad = conversations() + b'\n{"messages": [{"role": "user", "content": "Hi"}]}'
    file = client.files.create(file=("colours.jsonl", bad), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="small@1", training_file=file.id)
    give_up = time.monotonic() + 60
    while job.status != "failed" and time.monotonic() < give_up:
        time.sleep(0.1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "line 6" in job.error.message


def test_only_models_that_can_be_trained_further_are_taken(client: openai.OpenAI) -> None:
    file = client.files.create(file=("colours.jsonl", conversations()), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.create(model="nobody", training_file=file.id)
    assert caught.value.code == "model_not_found"
