"""Explanations by gradients at every door of a real server, with real processes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import psutil
import pytest
from PIL import Image
from tests.support.explained import bright_square, looks_at, within
from tests.support.operating import Operator, wait_until

from modelry.client import Client

MANIFEST = """\
name: followed
task: image-classification
files: {model: followed.onnx}
labels: [dark, bright]
pre: [decode: gray, resize: [32, 32], scale: 1/255, layout: nhwc]
post: [softmax, top_k: 2, label]
"""
METHOD = "integrated-gradients"
WISH = {"method": METHOD, "target": "bright"}


@pytest.fixture(scope="module")
def http(wired: Operator) -> Iterator[httpx2.Client]:
    wired.register_manifest(MANIFEST, {"model": looks_at(8, 20).SerializeToString()})
    wired.deploy("followed")
    wired.load("followed")
    headers = {"authorization": f"Bearer {wired.server.key}"}
    with httpx2.Client(base_url=wired.server.url, headers=headers, timeout=60) as client:
        yield client


def image() -> str:
    return base64.b64encode(bright_square(8, 20)).decode()


def explained(http: httpx2.Client, **body: Any) -> Any:
    asked = {"model": "followed", "image": image(), **body}
    answer = http.post("/v1/explanations", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def jobs_of(wired: Operator) -> int:
    return len(wired.call("GET", "/jobs", params={"kind": "explain-one"})["jobs"])


def processes(wired: Operator) -> int:
    """Processes of work that there are."""
    count = 0
    for one in wired.process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            count += "modelry.job_host" in one.cmdline()
    return count


def test_gradients_are_followed_in_a_process_of_work_and_checked_by_the_engine(
    wired: Operator, http: httpx2.Client
) -> None:
    before = jobs_of(wired)
    told = explained(http, **WISH, picture=True)
    assert (told["model"], told["version"]) == ("followed", 1)
    assert told["method"] == "integrated-gradients"
    assert within(told["attribution"]["regions"][0]["box"], (19, 7, 29, 17))
    parameters = told["parameters"]
    assert parameters["completeness"]["is_met"]
    assert parameters["parity"] < 1e-5
    assert told["faithfulness"]["is_better_than_random"]
    with Image.open(io.BytesIO(base64.b64decode(told["picture"]))) as drawn:
        assert np.asarray(drawn).shape == (32, 32, 3)
    again = explained(http, **WISH)  # its process waited
    assert again["attribution"] == told["attribution"]
    assert again["parameters"] == parameters
    assert again["picture"] is None
    assert told["usage"]["model_calls"] == told["cost"]["model_calls"]
    assert jobs_of(wired) == before  # nothing was kept of what a caller waited for


def used_by(wired: Operator, *key_ids: str) -> dict[str, dict[str, int]]:
    """The units of requests, of some keys or of all, by deployment."""
    asked = {"group_by": ["deployment"], "key_id": list(key_ids)}
    found = wired.call("GET", "/usage", params=asked)["usage"]
    return {one["group"]["deployment"]: one["units"] for one in found}


@pytest.mark.parametrize("checks", [True, False])
def test_a_job_finds_and_uses_the_same(wired: Operator, http: httpx2.Client, checks: bool) -> None:
    made = [
        wired.call("POST", "/keys", json={"name": "asks", "role": "developer"}) for _ in range(2)
    ]
    with Client(wired.server.url, made[0]["token"]) as client:
        job = client.start_explanation("followed", image=bright_square(8, 20), **WISH,
                                       checks=checks)  # fmt: skip
        later = client.explanation_of(job)
    told = wired.call("GET", f"/jobs/{job.id}")
    assert told["parameters"].keys() == {"deployment", "version", "method", "input"}
    with Client(wired.server.url, made[1]["token"]) as client:
        now = client.explain("followed", image=bright_square(8, 20), **WISH, checks=checks)
    assert (now.attribution, now.parameters) == (later.attribution, later.parameters)
    assert (now.usage, now.picture) == (later.usage, later.picture)
    assert told["progress"]["done"] == now.cost["model_calls"]
    keys = [one["key"]["key_id"] for one in made]

    def is_kept() -> bool:
        return all(used_by(wired, key).keys() == {"followed", "(explain-one)"} for key in keys)

    wait_until(is_kept, "what was used is in the ledger", 30)
    by_job, directly = (used_by(wired, key) for key in keys)
    units = ("explanations", "images", "items", "model_calls")
    for unit in units:
        assert by_job["followed"].get(unit, 0) == directly["followed"].get(unit, 0), unit
    assert directly["followed"]["explanations"] == directly["followed"]["requests"] == 1
    for one in (by_job, directly):
        assert one["(explain-one)"]["engine_us"] > 0
    # what one that waited used may be less than a tick of the kernel's clock; not so the first
    assert used_by(wired)["(explain-one)"]["cpu_us"] > 1_000_000


def test_gradients_are_waited_for_in_a_stream(http: httpx2.Client) -> None:
    body = {"model": "followed", "image": image(), "stream": True, **WISH, "seconds": 30}
    answer = http.post("/v1/explanations", json=body)
    assert answer.status_code == 200, answer.text
    events = [one for one in answer.text.split("\n\n") if one.startswith("event: ")]
    far = [json.loads(one.partition("data: ")[2]) for one in events[:-1]]
    phases = [one["phase"] for one in far]
    assert phases == sorted(phases, reverse=True)  # explaining, then checking
    assert phases
    told = json.loads(events[-1].partition("event: explanation\ndata: ")[2])
    assert (told["method"], told["target"]["label"]) == ("integrated-gradients", "bright")
    assert told["faithfulness"]["is_better_than_random"]
    assert (told["cost"]["most_seconds"], told["cost"]["left_out"]) == (30, [])


def test_the_other_doors_of_items_follow_gradients_too(http: httpx2.Client) -> None:
    expected = explained(http, **WISH, checks=False)["attribution"]
    wish = {**WISH, "checks": False}
    body = {"model": "followed", "image": image(), "explain": wish}
    told = http.post("/v1/classify", json=body).json()
    assert told["explanation"]["attribution"] == expected
    asked = {"instances": [image()] * 2, "parameters": wish}
    answer = http.post("/v1/models/followed:explain", json=asked)
    assert [one["attribution"] for one in answer.json()["explanations"]] == [expected] * 2
    body["explain"] = {"method": "grad-cam"}
    answer = http.post("/v1/classify", json=body)
    assert answer.status_code == 400
    assert "no convolution that gives maps" in answer.json()["error"]["message"]
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 32, 32, 1], "data": [0.5] * 1024}
    described = http.get("/v2/models/followed").json()["inputs"][0]
    asked = {"inputs": [{**tensor, "name": described["name"]}], "parameters": {"method": METHOD}}
    answer = http.post("/v2/models/followed/explain", json=asked)
    assert answer.status_code == 400
    assert "follows gradients" in answer.json()["error"]


def test_an_earlier_answer_is_explained_by_gradients(http: httpx2.Client, wired: Operator) -> None:
    path = "/deployments/followed/request-log"
    wired.call("PUT", path, json={"max_bytes": 65536, "attachments": True})
    answer = http.post("/v1/classify", json={"model": "followed", "image": image()})
    request_id = answer.headers["x-request-id"]
    found = {"request_id": request_id}
    wait_until(
        lambda: bool(wired.call("GET", "/request-logs", params=found)["requests"]),
        "the request is kept",
    )
    wired.call("DELETE", path)
    wish = {**WISH, "request_id": request_id, "checks": False}
    told = http.post("/v1/explanations", json=wish)
    assert told.status_code == 200, told.text
    assert within(told.json()["attribution"]["regions"][0]["box"], (19, 7, 29, 17))


def test_a_key_that_may_start_no_jobs_gets_no_gradients(
    wired: Operator, http: httpx2.Client
) -> None:
    minted = wired.call("POST", "/keys", json={"name": "asks", "role": "inference"})
    answer = http.post(
        "/v1/explanations",
        json={"model": "followed", "image": image(), "method": "integrated-gradients"},
        headers={"authorization": f"Bearer {minted['token']}"},
    )
    assert answer.status_code == 403
    assert "jobs:write" in answer.json()["error"]["message"]


def test_a_process_ends_with_the_caller_who_waits_for_it(
    wired: Operator, http: httpx2.Client
) -> None:
    wired.call("DELETE", "/deployments/followed")  # or the process that waits would answer at once
    wired.deploy("followed")
    wired.load("followed")
    before = processes(wired)
    body = json.dumps({"model": "followed", "image": image(), **WISH}).encode()
    head = (
        f"POST /v1/explanations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {wired.server.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    place = urlsplit(wired.server.url)
    with socket.create_connection((place.hostname, place.port)) as caller:
        caller.sendall(head.encode() + body)
        wait_until(lambda: processes(wired) > before, "a process was started")
    wait_until(lambda: processes(wired) <= before, "it has ended", 2)  # before torch is imported
