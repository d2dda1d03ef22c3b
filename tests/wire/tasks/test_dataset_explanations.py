"""Explanations over a dataset, by a real server with real workers and works."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.explained import linear
from tests.support.operating import Operator
from typer.testing import CliRunner

from modelry.cli.main import app
from modelry.client import Client

WEIGHTS = {"rooms": 2.0, "age": -0.5, "noise": 0.0}
MANIFEST = """\
name: worth
task: tabular
files: {model: worth.onnx}
pre: [columns: [rooms, age, noise]]
post: [output: value]
"""


@pytest.fixture(scope="module")
def client(wired: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    model = linear(list(WEIGHTS.values())).SerializeToString()
    wired.register_manifest(MANIFEST, {"model": model})
    lines = ["rooms,age,noise,area,worth"]
    for at in range(60):
        rooms, age, noise = at % 7 + 0.5, at % 11 + 0.5, at % 5 + 0.5
        area = "town" if at % 2 else "land"
        lines.append(f"{rooms},{age},{noise},{area},{2 * rooms - age / 2 + 3}")
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_text("\n".join(lines), "utf-8")
    with Client(wired.server.url, wired.server.key) as client:
        options = {"label": "worth", "labels": "numbers"}
        client.datasets.import_(file, "worths", options=options)
        yield client


def test_a_version_is_explained_and_measured_by_group(
    client: Client, wired: Operator, tmp_path: Path
) -> None:
    words = shlex.split(
        "explain-dataset worth@1 --on worths --rows 20 --checked 2 --background 20 --slice area "
        "--permutations 1 --dependence rooms --randomisations 1 --out"
    )
    environment = {"MODELRY_URL": wired.server.url, "MODELRY_API_KEY": wired.server.key}
    shown = CliRunner().invoke(app, [*words, str(tmp_path / "rows")], None, environment)
    assert shown.exit_code == 0, f"{shown.output}\n{shown.exception!r}"
    for told in (
        "Over 20 rows counted most: rooms",
        "By area:",
        "average, by rooms:",
        "1 of 1 layers",
    ):
        assert told in shown.stdout
    (job,) = client.jobs.list(kind="explain", limit=1)
    found = client.explanations.get(job.id)
    names = [one["name"] for one in found.report["importance"]["parts"]]
    assert names == ["rooms", "age", "noise"]
    assert found.report["randomisation"]["stages"][0]["layers"] == 1
    assert {one["value"] for one in found.report["slices"]["area"]} == {"town", "land"}
    lines = client.explanations.rows(job.id)
    assert len(lines) == found.rows == 20
    assert len((tmp_path / "rows").read_text("utf-8").splitlines()) == 20
    assert client.explanations.list("worth", 1)[0].explanation_id == job.id

    measured = client.evaluations.start("worth@1", "worths", groups=["area"])
    measured.wait(120, progress=False)
    report = client.evaluations.get(measured.id)
    assert report.metrics["answer_difference[area]"].value >= 0
    card = client.evaluations.card("worth", 1)
    assert "Groups by `area`" in card
    assert "## What counts" in card
    assert "| rooms |" in card
    client.explanations.delete(job.id)
    assert "## What counts" not in client.evaluations.card("worth", 1)
