"""`POST /v1/explanations` at a real server with real workers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from tests.support.explained import bright_square, looks_at, within
from tests.support.operating import Operator

MANIFEST = """\
name: bright
task: image-classification
files: {model: bright.onnx}
labels: [dark, bright]
pre: [decode: gray, resize: [32, 32], scale: 1/255, layout: nhwc]
post: [softmax, top_k: 2, label]
"""


@pytest.fixture(scope="module")
def http(wired: Operator) -> Iterator[httpx2.Client]:
    wired.register_manifest(MANIFEST, {"model": looks_at(8, 20).SerializeToString()})
    wired.deploy("bright")
    wired.load("bright")
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


def test_raw_bytes_with_wishes_in_the_query(http: httpx2.Client) -> None:
    answer = http.post(
        "/v1/explanations?model=bright&method=rise&calls=300&target=dark&checks=false",
        content=bright_square(8, 20),
        headers={"content-type": "image/png"},
    )
    told = answer.json()
    assert (told["method"], told["target"]["label"]) == ("rise", "dark")
    assert told["parameters"]["calls"] == 300
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
    ],
)
def test_what_cannot_be_explained_is_told(
    http: httpx2.Client, more: dict[str, Any], words: str
) -> None:
    image = base64.b64encode(bright_square(8, 20)).decode()
    answer = http.post("/v1/explanations", json={"model": "bright", "image": image, **more})
    assert answer.status_code in (400, 422), answer.text
    assert words in answer.json()["error"]["message"]
