"""Explanations at every door of a real server with real workers."""

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
from tests.support.explained import bright_square, finds_squares, linear, looks_at, within
from tests.support.operating import Operator, wait_until
from typer.testing import CliRunner

from modelry.cli.main import app
from modelry.client import Client
from modelry.tasks.background_rows import background_file

MANIFEST = """\
name: bright
task: image-classification
files: {model: bright.onnx}
labels: [dark, bright]
pre: [decode: gray, resize: [32, 32], scale: 1/255, layout: nhwc]
post: [softmax, top_k: 2, label]
"""

TABLE = """\
name: prices
task: tabular
files: {model: prices.onnx, background: background.json}
pre: [columns: [{name: rooms, type: number}, {name: age, type: number}]]
"""
USUAL = [[float(rooms), float(age)] for rooms in range(1, 7) for age in (0, 30, 60)]


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
    kept = background_file(["rooms", "age"], USUAL, "made up")
    wired.register_manifest(
        TABLE, {"model": linear([2.0, -0.1]).SerializeToString(), "background": kept}
    )
    found = finds_squares(SQUARES).SerializeToString()
    wired.register_manifest(DETECTOR, {"model": found})
    for name in ("bright", "prices", "squares"):
        wired.deploy(name)
        wired.load(name)
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


def image() -> str:
    return base64.b64encode(bright_square(8, 20)).decode()


def test_an_answer_comes_with_its_explanation_where_that_is_asked(http: httpx2.Client) -> None:
    body = {"model": "bright", "image": image(), "top_k": 1}
    plain = http.post("/v1/classify", json=body).json()
    assert "explanation" not in plain
    for wanted in (True, {"method": "occlusion", "checks": False}):
        told = http.post("/v1/classify", json={**body, "explain": wanted}).json()
        explanation = told.pop("explanation")
        assert told == plain
        assert explanation["version"] == told["version"] == 1
        best = told["results"][0]["labels"][0]
        assert explanation["target"]["label"] == best["label"]
        assert explanation["target"]["score"] == pytest.approx(best["score"])
        assert (explanation["faithfulness"] is None) == (wanted is not True)
    form = http.post("/v1/classify?model=bright&explain=true&top_k=1", content=bright_square(8, 20),
                     headers={"content-type": "image/png"})  # fmt: skip
    assert form.json()["explanation"]["method"] == "occlusion"
    assert http.post("/v1/classify", json={**body, "explain": False}).json() == plain


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"explain": "yes"}, "expected true, or an object of: method"),
        ({"explain": {"why": 1}}, "why is not known here; known are: method"),
        ({"explain": {"model": "prices"}}, "model is not known here"),
        ({"explain": {"calls": "many"}}, "calls is 'many'"),
        ({"explain": True, "image": ["aGk=", "aGk="]}, "explain one at a time"),
    ],
)
def test_what_explain_may_be_is_told(http: httpx2.Client, more: Any, words: str) -> None:
    answer = http.post("/v1/classify", json={"model": "bright", "image": image(), **more})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_rows_that_were_kept_with_a_version_are_its_background(http: httpx2.Client) -> None:
    body = {"model": "prices", "row": {"rooms": 3.0, "age": 40.0}}
    told = http.post("/v1/explanations", json=body).json()
    weights = {one["name"]: one["weight"] for one in told["attribution"]["columns"]}
    assert weights == pytest.approx({"rooms": 2 * (3 - 3.5), "age": -0.1 * (40 - 30)}, abs=1e-5)
    wish = {"method": "counterfactual", "goal": {"above": 8.4}, "changeable": {"age": {"step": 1}}}
    told = http.post("/v1/tabular", json={**body, "explain": wish}).json()["explanation"]
    (change,) = told["attribution"]["counterfactuals"][0]["changes"]
    assert change == {"name": "age", "from": 40.0, "to": 5.0}
    assert told["sentence"] == "It would be the answer (8.5) if age were 5 instead of 40."
    drawn = http.post("/v1/explanations", json={**body, **wish, "picture": True})
    assert drawn.status_code == 400, drawn.text
    assert "picture is for images alone" in drawn.json()["error"]["message"]


def test_the_sdk_has_a_row_explained_with_its_answer(wired: Operator, http: httpx2.Client) -> None:
    del http  # it deploys
    wish = {"background": [{"rooms": 1, "age": 0}, (2, 0)], "seed": 4}
    with Client(wired.server.url, wired.server.key) as client:
        (found,) = client.tabular("prices", [{"rooms": 3, "age": 40}], explain=wish)
    assert found.value == pytest.approx(5.0)
    why = found.explanation
    assert why is not None
    weights = {one["name"]: one["weight"] for one in why.attribution["columns"]}
    assert weights == pytest.approx({"rooms": 2 * (3 - 1.5), "age": -4}, abs=1e-5)


def test_kserves_first_protocol_predicts_and_explains(http: httpx2.Client) -> None:
    plain = http.post("/v1/classify", json={"model": "bright", "image": image()}).json()
    for instance in (image(), {"b64": image()}, {"image": {"b64": image()}}):
        told = http.post("/v1/models/bright:predict", json={"instances": [instance, instance]})
        assert told.json() == {"predictions": plain["results"] * 2, "model_version": "1"}
    told = http.post(
        "/v1/models/bright:explain",
        json={"instances": [image()], "parameters": {"method": "rise", "checks": False}},
    ).json()
    (explanation,) = told["explanations"]
    assert (explanation["method"], explanation["target"]["label"]) == ("rise", "bright")
    rows = {"instances": [[3.0, 40.0], {"rooms": 3.0, "age": 40.0}, {"row": [3.0, 40.0]}]}
    values = http.post("/v1/models/prices:predict", json=rows).json()["predictions"]
    assert [one["value"] for one in values] == pytest.approx([5.0] * 3)


@pytest.mark.parametrize(
    ("url", "body", "words"),
    [
        ("bright:predict", {}, "instances is missing"),
        ("bright:predict", {"instances": []}, "expected a list of 1 to 256"),
        ("bright:predict", {"instances": [7]}, "instances[0] is 7; expected an object of: image"),
        ("bright:predict", {"instances": ["%"]}, "not valid base64"),
        ("bright:predict", {"instances": ["aGk="], "parameters": {"odd": 1}}, "odd is not known"),
        ("bright:explain", {"instances": ["aGk="] * 17}, "expected a list of 1 to 16"),
        ("prices:predict", {"instances": [{"rooms": "x", "age": 1}]}, "rooms"),
        ("nobody:predict", {"instances": [1]}, "nobody"),
    ],
)
def test_kserves_errors_have_its_shape(
    http: httpx2.Client, url: str, body: Any, words: str
) -> None:
    answer = http.post(f"/v1/models/{url}", json=body)
    assert answer.status_code in (400, 404), answer.text
    assert words in answer.json()["error"]


def test_tensors_are_explained_by_tensors(http: httpx2.Client) -> None:
    assert "explanations" in http.get("/v2").json()["extensions"]
    name = http.get("/v2/models/prices").json()["inputs"][0]["name"]
    tensor = {"name": name, "shape": [2, 2], "datatype": "FP32", "data": [3, 40, 1, 0]}
    body: dict[str, Any] = {"id": "7", "inputs": [tensor], "parameters": {"method": "shapley"}}
    told = http.post("/v2/models/prices/versions/1/explain", json=body).json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("prices", "1", "7")
    outputs = {one["name"]: one for one in told["outputs"]}
    assert outputs[f"attributions.{name}"]["shape"] == [2, 2]
    assert outputs[f"attributions.{name}"]["data"] == pytest.approx([6, -4, 2, 0], abs=1e-5)
    assert outputs["score"]["data"] == pytest.approx([5, 5], abs=1e-5)
    assert told["parameters"]["method"] == "shapley"
    body["parameters"] = {"binary_data_output": True, "baseline": 1.0, "checks": False}
    answer = http.post("/v2/models/prices/explain", json={**body, "inputs": [tensor]})
    size = int(answer.headers["inference-header-content-length"])
    weights = np.frombuffer(answer.content[size:], "<f8", 4)
    assert weights.tolist() == pytest.approx([4, -3.9, 0, 0.1], abs=1e-5)


@pytest.mark.parametrize(
    ("parameters", "shape", "words"),
    [
        ({"method": "rise"}, [1, 2], "tensors can be explained by: leave-one-out, shapley"),
        ({"calls": 1}, [1, 2], "calls is 1"),
        ({"odd": 1}, [1, 2], "unknown field 'odd'"),
        ({"target": 3}, [1, 2], "index from 0 to 0"),
        ({}, [17, 2], "17 rows; explain 1 to 16"),
        ({}, [1, 3], "shape"),
    ],
)
def test_tensors_that_cannot_be_explained_are_told(
    http: httpx2.Client, parameters: Any, shape: list[int], words: str
) -> None:
    name = http.get("/v2/models/prices").json()["inputs"][0]["name"]
    data = [1.0] * (shape[0] * shape[1])
    tensor = {"name": name, "shape": shape, "datatype": "FP32", "data": data}
    body = {"inputs": [tensor], "parameters": parameters}
    answer = http.post("/v2/models/prices/explain", json=body)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]


def asked_before(http: httpx2.Client, wired: Operator, **rule: Any) -> str:
    """The id of a request that was answered while `rule` held."""
    path = "/deployments/bright/request-log"
    wired.call("PUT", path, json={"max_bytes": 65536, **rule})
    answer = http.post("/v1/classify", json={"model": "bright", "image": [image()] * 2})
    request_id = answer.headers["x-request-id"]
    found = {"request_id": request_id}
    wait_until(
        lambda: bool(wired.call("GET", "/request-logs", params=found)["requests"]),
        "the request is kept",
    )
    wired.call("DELETE", path)
    return request_id


def test_an_earlier_answer_is_explained_by_its_id(http: httpx2.Client, wired: Operator) -> None:
    request_id = asked_before(http, wired, attachments=True)
    wish = {"request_id": request_id, "item": 1, "checks": False}
    told = http.post("/v1/explanations", json=wish).json()
    assert (told["model"], told["version"], told["method"]) == ("bright", 1, "occlusion")
    assert within(told["attribution"]["regions"][0]["box"], (19, 7, 29, 17))
    refused = [
        ({"item": None}, "say which one: item is 0 to 1"),
        ({"item": 2}, "item is 2; that request had 2 items"),
        ({"model": "prices"}, "answered by 'bright'"),
        ({"image": image()}, "image is not known here"),
        ({"within": [0]}, "within is not for models of the task 'image-classification'"),
    ]
    for change, words in refused:
        answer = http.post("/v1/explanations", json={**wish, **change})
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]
    made = wired.call("POST", "/keys", json={"name": "another", "role": "inference"})
    headers = {"authorization": f"Bearer {made['token']}"}
    answer = http.post("/v1/explanations", json=wish, headers=headers)
    assert answer.status_code == 404
    assert "No request" in answer.json()["error"]["message"]


def test_a_deployment_that_was_made_anew_explains_no_answers_of_the_one_before(
    http: httpx2.Client, wired: Operator
) -> None:
    request_id = asked_before(http, wired, attachments=True)
    wired.call("DELETE", "/deployments/bright")
    wired.deploy("bright")
    wired.load("bright")
    wish = {"request_id": request_id, "item": 0, "checks": False}
    answer = http.post("/v1/explanations", json=wish)
    assert answer.status_code == 404, answer.text
    assert "was made later" in answer.json()["error"]["message"]


def test_what_was_not_kept_cannot_be_explained_later(http: httpx2.Client, wired: Operator) -> None:
    for rule, words in (
        ({}, "its image was not kept"),
        ({"keep_input": False}, "what it asked was not kept"),
    ):
        request_id = asked_before(http, wired, **rule)
        answer = http.post("/v1/explanations", json={"request_id": request_id, "item": 0})
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]
    answer = http.post("/v1/explanations", json={"request_id": "nothing"})
    assert answer.status_code == 404
