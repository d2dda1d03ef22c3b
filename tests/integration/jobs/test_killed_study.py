"""A study of a whole server in a process of its own, which is killed under it."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import httpx2
import numpy as np
import pytest
from tests.support.explained import linear
from tests.support.operating import Operator
from tests.support.server import Running, start

from modelry import Client
from modelry.client.jobs import Job
from modelry.studying.rows import chosen

ROWS, BACKGROUND = 200, 50
WEIGHTS = np.array([2.0, -0.5, 0.25])
MANIFEST = """\
name: worth
task: tabular
files: {model: worth.onnx}
pre: [columns: [a, b, c]]
post: [output: value]
"""


def started(running: Running, client: Client, cells: np.ndarray, file: Path) -> Job:
    """A study of a linear model over all rows, once there is a checkpoint of it."""
    with Operator(running) as operator:
        model = linear(WEIGHTS.tolist()).SerializeToString()
        operator.register_manifest(MANIFEST, {"model": model})
    file.write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in cells), "utf-8")
    client.datasets.import_(file, "cells")
    job = client.explanations.start(
        "worth@1", "cells", rows=ROWS, checked=ROWS, background=BACKGROUND, permutations=0
    )
    next(one for one in job.events(timeout_s=60) if one.kind == "checkpoint")
    return job


def test_it_goes_on_and_tells_what_it_would_have_told(tmp_path: Path) -> None:
    cells = np.random.default_rng(4).normal(size=(ROWS, 3)).round(3)
    key, data = secrets.token_urlsafe(32), tmp_path / "data"
    first = start(data, key=key)
    with Client(first.url, key) as client:
        job = started(first, client, cells, tmp_path / "cells.csv")
        first.kill()
        second = start(data, key=key, port=str(httpx2.URL(first.url).port))
        job.wait(60, progress=False)
        found, lines = client.explanations.get(job.id), client.explanations.rows(job.id)
        log = "\n".join(one.line for one in job.log())
    second.kill()  # that it ends in order is told by others
    assert [one.outcome for one in job.record.history] == ["lost", "succeeded"]
    goes_on = re.search(r"Goes on after (\d+) explained rows", log)
    assert goes_on, log
    assert 0 < int(goes_on[1]) < ROWS

    # Shapley values of a linear model: weight x (cell - mean of the background)
    usual = cells[chosen(ROWS, BACKGROUND, 0)].mean(axis=0)
    expected = WEIGHTS * (cells - usual)
    told = [[one["weight"] for one in line["attribution"]["columns"]] for line in lines]
    assert [line["row"] for line in lines] == list(range(ROWS))
    assert np.array(told) == pytest.approx(expected, abs=1e-5)
    parts = {one["name"]: one["weight"] for one in found.report["importance"]["parts"]}
    assert parts == pytest.approx(
        dict(zip("abc", np.abs(expected).mean(axis=0), strict=True)), abs=1e-5
    )
