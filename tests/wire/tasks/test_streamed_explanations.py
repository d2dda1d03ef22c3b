"""How far explanations are, told by a real server with real workers, and to its clients."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.explained import bright_square, looks_at, within
from tests.support.operating import Operator
from typer.testing import CliRunner

from modelry.cli.main import app
from modelry.client import AsyncClient, Client
from modelry.client.errors import InvalidInput
from modelry.client.explained import ExplanationProgress

MANIFEST = """\
name: streamed
task: image-classification
files: {model: streamed.onnx}
labels: [dark, bright]
pre: [decode: gray, resize: [32, 32], scale: 1/255, layout: nhwc]
post: [softmax, top_k: 2, label]
"""
ITEM = {"model": "streamed", "image": base64.b64encode(bright_square(8, 20)).decode()}


@pytest.fixture(scope="module")
def http(wired: Operator) -> Iterator[httpx2.Client]:
    wired.register_manifest(MANIFEST, {"model": looks_at(8, 20).SerializeToString()})
    wired.deploy("streamed")
    wired.load("streamed")
    headers = {"authorization": f"Bearer {wired.server.key}"}
    with httpx2.Client(base_url=wired.server.url, headers=headers, timeout=60) as client:
        yield client


def events(http: httpx2.Client, **wish: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    body = {**ITEM, "stream": True, **wish}
    with http.stream("POST", "/v1/explanations", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
    return found


def test_a_stream_tells_how_far_it_is_and_ends_with_what_a_request_gets(
    http: httpx2.Client,
) -> None:
    found = events(http, method="rise", seed=2)
    names = [name for name, _ in found]
    assert names == [*["progress"] * (len(found) - 1), "explanation"]
    phases = [told["phase"] for name, told in found if name == "progress"]
    assert phases == sorted(phases, reverse=True)
    assert {"explaining", "checking"} == set(phases)
    assert all(told["calls"] <= told["most_calls"] for name, told in found[:-1])
    told = http.post("/v1/explanations", json={**ITEM, "method": "rise", "seed": 2}).json()
    streamed = found[-1][1]
    assert streamed.pop("cost")["model_calls"] == told.pop("cost")["model_calls"]
    assert streamed == told


def test_what_fails_at_once_has_its_own_status(http: httpx2.Client) -> None:
    for wish, words in (
        ({"target": "purple"}, "one of the labels (dark, bright)"),
        ({"calls": 2}, "needs at least"),
        ({"job": True}, "exclude each other"),
        ({"seconds": 0}, "seconds is 0"),
    ):
        answer = http.post("/v1/explanations", json={**ITEM, "stream": True, **wish})
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]


def test_every_door_that_takes_calls_takes_seconds(http: httpx2.Client) -> None:
    wish = {"method": "rise", "seconds": 20, "checks": False}
    told = http.post("/v1/classify", json={**ITEM, "explain": wish}).json()["explanation"]
    assert (told["cost"]["most_seconds"], told["cost"]["left_out"]) == (20, [])
    answer = http.post(
        "/v1/models/streamed:explain", json={"instances": [ITEM["image"]], "parameters": wish}
    )
    assert answer.json()["explanations"][0]["cost"]["most_seconds"] == 20
    (spec,) = http.get("/v2/models/streamed").json()["inputs"]
    shape = [1, *spec["shape"][1:]]
    tensor = {**spec, "shape": shape, "data": [0.5] * math.prod(shape)}
    body = {"inputs": [tensor], "parameters": {"seconds": 5000}}
    answer = http.post("/v2/models/streamed/explain", json=body)
    assert answer.status_code == 400
    assert "seconds is 5000; expected a number from 0.1 to 3600" in answer.json()["error"]
    body["parameters"] = {"seconds": 20, "checks": False}
    assert http.post("/v2/models/streamed/explain", json=body).status_code == 200


def test_both_clients_are_told(wired: Operator, http: httpx2.Client) -> None:
    del http  # it deploys
    told: list[ExplanationProgress] = []
    url, key = wired.server.url, wired.server.key
    with Client(url, key) as client:
        found = client.explain("streamed", image=bright_square(8, 20), on_progress=told.append)
        with pytest.raises(InvalidInput, match="needs at least"):
            client.explain("streamed", image=bright_square(8, 20), calls=2)
    assert within(found.attribution["regions"][0]["box"], (19, 7, 29, 17))
    assert {one.phase for one in told} == {"explaining", "checking"}

    async def ask() -> list[ExplanationProgress]:
        seen: list[ExplanationProgress] = []
        async with AsyncClient(url, key) as client:
            again = await client.explain(
                "streamed", image=bright_square(8, 20), on_progress=seen.append
            )
        assert again.sentence == found.sentence
        return seen

    assert {one.phase for one in asyncio.run(ask())} == {"explaining", "checking"}


def test_the_command_draws_no_bar_where_there_is_no_terminal(
    wired: Operator, http: httpx2.Client, tmp_path: Path
) -> None:
    del http
    (tmp_path / "square.png").write_bytes(bright_square(8, 20))
    words = ["explain", "streamed", str(tmp_path / "square.png"), "--seconds", "20", "--no-checks"]
    environment = {"MODELRY_URL": wired.server.url, "MODELRY_API_KEY": wired.server.key}
    shown = CliRunner().invoke(app, words, None, environment)
    assert shown.exit_code == 0, shown.output
    assert "explaining" not in shown.stderr
    assert "spoke most" in shown.stdout
