"""`modelry datasets` and `client.datasets` against a whole server, with works in their walls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.onnx_models import identity
from tests.support.server import Running, server
from typer.testing import CliRunner, Result

from modelry import AsyncClient, Client
from modelry.cli.main import app
from modelry.client.errors import InvalidInput, JobFailed, NotFound, RowsInvalid

HEAD = "length,kind\n"
LINES = "".join(f"{one / 10},{'iris' if one % 4 else 'rose'}\n" for one in range(200))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with server(tmp_path_factory.mktemp("datasets") / "data") as found:
        yield found


def _environment(running: Running) -> dict[str, str]:
    return {"MODELRY_URL": running.url, "MODELRY_API_KEY": running.key}


def run(running: Running, *words: object, code: int = 0) -> Result:
    words = ("datasets", *words)
    result = CliRunner().invoke(app, [*map(str, words)], None, _environment(running))
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def test_a_datasets_whole_life(running: Running, tmp_path: Path) -> None:
    table = tmp_path / "Flowers.csv"
    table.write_text(HEAD + LINES)
    split = ("--split", "train=0.8", "--split", "test=0.2", "--seed", 1)

    made = run(running, "import", table, "--label", "kind", *split)

    assert made.stdout.startswith("flowers@1  sha256:")
    assert "iris 120, rose 40" in made.stdout
    again = json.loads(run(running, "import", table, "--label", "kind", *split, "--json").stdout)
    assert again["ref"] == "flowers@1"
    assert "flowers@1   200  train 160, test 40" in " ".join(run(running, "list").stdout.split(" "))
    shown = run(running, "rows", "flowers", "--split", "test", "--limit", 2, "--column", "kind")
    assert shown.stdout.split()[:2] == ["ROW", "kind"]
    assert "Rows 0 to 1 of 40 in 'test'." in shown.stderr
    run(running, "validate", "flowers")

    roses = run(running, "derive", "roses", "flowers", "--filter", "kind == 'rose'")
    assert "roses@1" in roses.stdout
    run(running, "delete", "roses@1", code=2)
    assert run(running, "delete", "roses", "--yes").stdout.startswith("Deleted dataset 'roses'")
    run(running, "show", "roses", code=1)


def test_a_folder_with_a_broken_image(running: Running, tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for at in range(4):
            Image.new("RGB", (5, 4), (at * 60, 9, 9)).save(tmp_path / f"pets/{kind}/{at}.png")
    (tmp_path / "pets/dog/9.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")

    refused = run(running, "import", tmp_path / "pets", code=1)
    assert "dog/9.png" in refused.stderr
    assert "pets" not in run(running, "list").stdout

    skipped = run(running, "import", tmp_path / "pets", "--skip-bad-rows")
    assert "dog/9.png" in skipped.stdout
    assert "5x4" in skipped.stdout


def test_arrays_from_python(running: Running) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (60, 4, 4), dtype=np.uint8), np.arange(60) % 3
    states = []
    with Client(running.url, running.key) as client:
        version = client.datasets.from_arrays(
            "digits", x, y, x_test=x[:6] + 1, y_test=y[:6], watch=states.append
        )
        assert {one.name: one.rows for one in version.splits} == {"train": 60, "test": 6}
        rows = client.datasets.rows(version.ref, "train", limit=1, offset=7)
        assert rows.rows[0]["x"] == x[7].tolist()
        assert states[-1]["state"] == "succeeded"
        with pytest.raises(InvalidInput, match="objects"):
            client.datasets.from_arrays("bad", np.array([{}]))

    async def both() -> None:
        async with AsyncClient(running.url, running.key) as client:
            made = await client.datasets.derive("half", "digits", [{"sample": 0.5, "seed": 3}])
            assert 10 < made.rows < 56
            with pytest.raises(InvalidInput, match="reads the column 'colour'"):
                await client.datasets.derive("none", "digits", [{"filter": "colour == 1"}])
            with pytest.raises(RowsInvalid, match="none of its 1 classes"):
                await client.datasets.derive("none", "digits", [{"classes": {"y": ["0"]}}])

    asyncio.run(both())


def test_a_version_that_is_good_enough_is_named_and_served(
    running: Running, tmp_path: Path
) -> None:
    """Evaluate, register, deploy: as one chain, through the engine that serves."""
    random = np.random.default_rng(0)
    y = np.arange(40) % 3
    x = (np.eye(3)[y] + random.normal(0, 0.1, (40, 3))).astype(np.float32)
    (tmp_path / "points.onnx").write_bytes(identity(1, ("batch", 3)).SerializeToString())
    with Client(running.url, running.key) as client:
        client.datasets.from_arrays("points", x, y, x_test=x[:20], y_test=(y[:20] + 1) % 3)
        client.register(tmp_path / "points.onnx", task="tensor")
        evaluate = ("evaluate", {"version": "points@1", "dataset": "points"})
        gate = {"version": "points@1", "when": ["accuracy > 0.5", "accuracy >= champion"]}
        register = ("register", {**gate, "alias": "champion"})
        deploy = ("deploy", {"version": "points@1", "deployment": "pointing"})

        bad = client.jobs.chain(evaluate, register, deploy)
        with pytest.raises(
            JobFailed, match=r"was cancelled: Job .* which it depends on, failed"
        ) as told:
            bad[-1].wait(60, progress=False)
        assert told.value.code == "cancelled"
        assert bad[1].refresh().record.error.code == "gate_not_met"
        assert "accuracy > 0.5: it is 0 on points@1, split 'test'" in bad[1].record.error.message
        assert client.aliases.list("points") == []
        with pytest.raises(NotFound):
            client.deployments.get("pointing")

        good = ("evaluate", {**evaluate[1], "split": "train"})
        first, second, third = client.jobs.chain(good, register, deploy, name="pointing")
        assert third.wait(60, progress=False).outcome["deployment"] == "pointing"
        assert second.refresh().outcome["conditions"][0]["value"] > 0.9
        assert client.aliases.list("points")[0].version == 1
        answer = client.infer("pointing", {"x": x[:1]})
        assert answer["y"][0].argmax() == y[0]
        assert [one.id for one in client.jobs.list(name="pointing")] == [
            third.id, second.id, first.id,
        ]  # fmt: skip
        entries = client.audit.list(action="deployments.deploy").entries
        assert entries[0].detail["job_id"] == third.id

        used = {one.group["deployment"]: one.units for one in client.usage(group_by=["deployment"])}
        [score] = first.refresh().record.history
        assert score.cpu_s > 0
        assert used["(evaluate)"]["cpu_us"] >= score.cpu_s * 1e6
        assert used["(import-dataset)"]["engine_us"] > 0
        assert client.trace(f"{first.id}.1")[0].task == "evaluate"
    shown = CliRunner().invoke(app, ["usage"], None, _environment(running)).stdout
    assert "CPU S" in shown
    assert "(evaluate)" in shown
