"""`POST /v1/explanations` at a real server with real workers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from tests.support.explained import bright_square, finds_squares, looks_at, within
from tests.support.operating import Operator, wait_until
from typer.testing import CliRunner

from modelry.cli.main import app
from modelry.client import Client

MANIFEST = """\
name: bright
task: image-classification
files: {model: bright.onnx}
labels: [dark, bright]
pre: [decode: gray, resize: [32, 32], scale: 1/255, layout: nhwc]
post: [softmax, top_k: 2, label]
"""


DETECTOR = """\
name: squares
task: object-detection
files: {model: squares.onnx}
labels: [left, right]
pre: [decode: gray, letterbox: [32, 32], scale: 1/255, layout: nhwc]
post: [decode_boxes: finished, unletterbox]
"""
SQUARES = ((2, 8, 12, 18), (20, 8, 28, 16))


@pytest.fixture(scope="module")
def http(wired: Operator) -> Iterator[httpx2.Client]:
    wired.register_manifest(MANIFEST, {"model": looks_at(8, 20).SerializeToString()})
    wired.deploy("bright")
    wired.load("bright")
    found = finds_squares(SQUARES).SerializeToString()
    wired.register_manifest(DETECTOR, {"model": found})
    wired.deploy("squares")
    wired.load("squares")
    headers = {"authorization": f"Bearer {wired.server.key}"}
    with httpx2.Client(base_url=wired.server.url, headers=headers, timeout=60) as client:
        yield client


def explained(http: httpx2.Client, **body: Any) -> Any:
    image = base64.b64encode(bright_square(8, 20)).decode()
    answer = http.post("/v1/explanations", json={"model": "bright", "image": image, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_square_that_decides_is_found_by_a_real_worker(http: httpx2.Client) -> None:
    told = explained(http, picture=True)
    assert (told["model"], told["version"], told["method"]) == ("bright", 1, "occlusion")
    assert within(told["attribution"]["regions"][0]["box"], (19, 7, 29, 17))
    assert told["faithfulness"]["is_better_than_random"]
    assert told["usage"]["model_calls"] == told["cost"]["model_calls"]
    with Image.open(io.BytesIO(base64.b64decode(told["picture"]))) as drawn:
        assert np.asarray(drawn).shape == (32, 32, 3)


def test_the_objects_of_an_image_have_a_map_each_by_a_real_worker(http: httpx2.Client) -> None:
    told = explained(http, model="squares", min_score=0.5, picture=True)
    (found,) = told["attribution"]["objects"]
    assert (found["label"], found["box"]) == ("right", pytest.approx(SQUARES[1]))
    assert told["target"] == {key: found[key] for key in ("index", "label", "score", "box")}
    assert (told["method"], told["attribution"]["kind"]) == ("d-rise", "objects")
    left, top, right, bottom = found["regions"][0]["box"]
    assert within([(left + right) / 2, (top + bottom) / 2] * 2, SQUARES[1])
    assert told["faithfulness"]["is_better_than_random"]
    assert told["usage"]["images"] == 1
    with Image.open(io.BytesIO(base64.b64decode(told["picture"]))) as drawn:
        assert np.asarray(drawn).shape == (32, 32, 3)


def test_raw_bytes_with_wishes_in_the_query(http: httpx2.Client) -> None:
    answer = http.post(
        "/v1/explanations?model=bright&method=rise&calls=300&target=dark&checks=false",
        content=bright_square(8, 20),
        headers={"content-type": "image/png"},
    )
    told = answer.json()
    assert (told["method"], told["target"]["label"]) == ("rise", "dark")
    assert 256 <= told["parameters"]["calls"] <= told["parameters"]["most_calls"] == 300
    assert told["faithfulness"] is None
    assert told["picture"] is None


def test_a_flood_of_explanations_is_told_to_come_again_and_predictions_go_on(
    http: httpx2.Client,
) -> None:
    image = base64.b64encode(bright_square(8, 20)).decode()
    body = {"model": "bright", "image": image, "method": "rise", "calls": 5000}
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(http.post, "/v1/explanations", json=body) for _ in range(32)]
        predicted = http.post("/v1/classify", json={"model": "bright", "image": image})
        answers = [one.result() for one in asked]
    assert predicted.status_code == 200
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert "explanations wait for this model already" in refused.json()["error"]["message"]


def test_gradients_are_followed_in_a_process_of_work_and_checked_by_the_engine(
    wired: Operator, http: httpx2.Client
) -> None:
    told = explained(http, method="integrated-gradients", target="bright", picture=True)
    assert (told["model"], told["version"]) == ("bright", 1)
    assert told["method"] == "integrated-gradients"
    assert within(told["attribution"]["regions"][0]["box"], (19, 7, 29, 17))
    parameters = told["parameters"]
    assert parameters["completeness"]["is_met"]
    assert parameters["parity"] < 1e-5
    assert told["faithfulness"]["is_better_than_random"]
    with Image.open(io.BytesIO(base64.b64decode(told["picture"]))) as drawn:
        assert np.asarray(drawn).shape == (32, 32, 3)
    jobs = wired.call("GET", "/jobs", params={"kind": "explain-one"})["jobs"]
    assert jobs[0]["state"] == "succeeded"
    assert jobs[0]["progress"]["done"] >= told["cost"]["model_calls"]
    assert jobs[0]["parameters"].keys() == {"deployment", "version", "method", "input"}


def test_an_explanation_as_a_job(wired: Operator, http: httpx2.Client) -> None:
    image = bright_square(8, 20)
    with Client(wired.server.url, wired.server.key) as client:
        job = client.start_explanation("bright", image=image, method="rise", calls=300)
        assert job.kind == "explain-one"
        found = client.explanation_of(job)
        assert (found.method, found.target.label) == ("rise", "bright")
        assert found.picture.startswith(b"\x89PNG")
    answer = http.post(
        "/v1/explanations",
        json={"model": "bright", "image": base64.b64encode(image).decode(), "job": True,
              "calls": 2},
    )  # fmt: skip
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    wait_until(
        lambda: wired.call("GET", f"/jobs/{job_id}")["state"] == "failed", "the job fails", 30
    )
    assert "needs at least" in wired.call("GET", f"/jobs/{job_id}")["error"]["message"]


def test_the_command_starts_a_job_and_tells_its_id(wired: Operator, tmp_path: Path) -> None:
    (tmp_path / "square.png").write_bytes(bright_square(8, 20))
    words = ["explain", "bright", str(tmp_path / "square.png"), "--no-checks", "--job", "--json"]
    environment = {"MODELRY_URL": wired.server.url, "MODELRY_API_KEY": wired.server.key}
    shown = CliRunner().invoke(app, words, None, environment)
    assert shown.exit_code == 0, shown.output
    job_id = json.loads(shown.stdout)["job_id"]
    assert wired.call("GET", f"/jobs/{job_id}")["kind"] == "explain-one"


def test_a_key_that_may_start_no_jobs_gets_no_gradients(
    wired: Operator, http: httpx2.Client
) -> None:
    minted = wired.call("POST", "/keys", json={"name": "asks", "role": "inference"})
    image = base64.b64encode(bright_square(8, 20)).decode()
    answer = http.post(
        "/v1/explanations",
        json={"model": "bright", "image": image, "method": "integrated-gradients"},
        headers={"authorization": f"Bearer {minted['token']}"},
    )
    assert answer.status_code == 403
    assert "jobs:write" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"target": "purple"}, "one of the labels (dark, bright)"),
        ({"method": "magic"}, "an image can be explained by: occlusion, rise"),
        ({"calls": 10}, "this explanation needs at least"),
        ({"calls": 10**6}, "calls"),
        ({"background": [[1, 2]]}, "background is for rows"),
        ({"why": True}, "why is not known here"),
        ({"image": ["aGk=", "aGk="]}, "explain one at a time"),
        ({"image": base64.b64encode(b"no picture").decode()}, "image"),
        ({"model": "squares", "target": "purple"}, "one of their labels (right) or an index"),
        ({"model": "squares", "min_score": 0.999}, "finds no object in this image"),
    ],
)
def test_what_cannot_be_explained_is_told(
    http: httpx2.Client, more: dict[str, Any], words: str
) -> None:
    image = base64.b64encode(bright_square(8, 20)).decode()
    answer = http.post("/v1/explanations", json={"model": "bright", "image": image, **more})
    assert answer.status_code in (400, 422), answer.text
    assert words in answer.json()["error"]["message"]
