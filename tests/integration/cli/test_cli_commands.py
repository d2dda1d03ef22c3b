"""Every command against a whole server in a process of its own."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.onnx_models import identity, tiny_cnn
from tests.support.server import Running, server
from typer.testing import CliRunner, Result

from modelry.cli.main import app

PAGE = Path(__file__).parents[3] / "src/modelry/cli/samples/page.png"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with server(tmp_path_factory.mktemp("cli") / "data") as found:
        yield found


class Shell:
    """Runs commands with the owner's key in the environment."""

    def __init__(self, running: Running, key: str | None = None) -> None:
        self.environment = {"MODELRY_URL": running.url, "MODELRY_API_KEY": key or running.key}

    def run(self, *words: object, code: int = 0, given: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], given, self.environment)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def json(self, *words: object, given: str | None = None):
        return json.loads(self.run(*words, "--json", given=given).stdout)


@pytest.fixture
def shell(running: Running) -> Shell:
    return Shell(running)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.onnx").write_bytes(tiny_cnn().SerializeToString())
    return tmp_path / "tiny.onnx"


def test_a_models_whole_life(shell: Shell, tiny: Path, tmp_path: Path):
    assert shell.run("models").stderr.startswith("No models yet")
    registered = shell.run("register", tiny, "--deploy")
    assert registered.stdout == "tiny@1\n"
    assert "task 'image-classification'" in registered.stderr
    assert "'tiny' is ready" in registered.stderr
    again = shell.json("register", tiny)
    assert again["registrations"][0]["created"] is False
    assert again["deployments"] == []

    assert "tiny" in shell.run("models").stdout
    assert shell.json("models")[0]["latest_version"] == 1
    assert "tiny: image-classification" in shell.run("models", "show", "tiny").stdout
    assert shell.json("models", "show", "tiny")["name"] == "tiny"
    assert "onnx" in shell.run("versions", "tiny").stdout
    assert "input x: FP32 [?, 1, 28, 28]" in shell.run("versions", "tiny", 1).stdout
    assert shell.json("versions", "tiny", "1")["runtime"] == "onnx"

    assert "version 1" in shell.run("alias", "set", "tiny", "champion", 1, "--reason", "r").stdout
    assert shell.json("alias", "list", "tiny")[0]["name"] == "champion"
    assert shell.json("alias", "history", "tiny")[0]["reason"] == "r"
    assert shell.run("deploy", "tiny@champion", "--replicas", "1").stdout.startswith("'tiny' is")
    shell.run("alias", "delete", "tiny", "champion")
    assert shell.json("alias", "list", "tiny") == []

    status = shell.run("status")
    assert "is ready." in status.stdout
    assert "1: 100 %" in status.stdout
    assert shell.json("status")["deployment_list"][0]["replicas"][0]["state"] == "ready"
    shell.run("logs", "tiny")
    assert isinstance(shell.json("logs", "tiny"), dict)

    classified = shell.json("classify", "tiny", PAGE, PAGE, "--top-k", 2)
    assert [len(one["labels"]) for one in classified["results"]] == [2, 2]
    assert "%" in shell.run("classify", "tiny", PAGE).stdout

    scaled = shell.json("scale", "tiny", "0..2", "--idle-unload", "10m")
    assert scaled["scale"] == {"min_replicas": 0, "max_replicas": 2, "idle_unload_s": 600}
    assert (
        shell.json("scale", "tiny", "1", "--idle-unload", "never")["scale"]["idle_unload_s"] is None
    )
    assert shell.json("undeploy", "tiny") == {"undeployed": "tiny"}
    assert "--yes" in shell.run("models", "delete", "tiny", code=2).stderr
    assert "--yes" in shell.run("versions", "tiny", 1, "--delete", code=2).stderr
    assert shell.json("versions", "tiny", "1", "--delete", "--yes") == {"deleted": "tiny@1"}
    assert shell.json("models", "delete", "tiny", "--yes") == {"deleted": "tiny"}


def test_infer_takes_files_and_json_and_gives_arrays(shell: Shell, tmp_path: Path):
    path = tmp_path / "same.onnx"
    path.write_bytes(identity(1, ("batch", 3)).SerializeToString())
    made = shell.json("register", path, "--task", "tensor", "--deploy")
    signature = made["registrations"][0]["version"]["signature"]
    (source,) = (one["name"] for one in signature["inputs"])
    (target,) = (one["name"] for one in signature["outputs"])
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "x.json").write_text(json.dumps(array.tolist()))
    whole = json.dumps({source: array.tolist()})
    (tmp_path / "all.json").write_text(whole)
    v2 = {"inputs": [{"name": source, "shape": [2, 3], "data": array.ravel().tolist()}]}
    answers = [
        shell.json("infer", "same", f"{source}={tmp_path / 'x.npy'}"),
        shell.json("infer", "same", f"{source}={tmp_path / 'x.json'}"),
        shell.json("infer", "same", f"{source}={array.tolist()}"),
        shell.json("infer", "same", tmp_path / "all.json"),
        shell.json("infer", "same", "-", given=whole),
        shell.json("infer", "same", "-", given=json.dumps(v2)),
        shell.json("infer", "same", "--version", 1, "--output", target, "-", given=whole),
    ]
    for answer in answers:
        assert answer["version"] == 1
        assert answer["outputs"][target]["shape"] == [2, 3]
        assert answer["outputs"] == answers[0]["outputs"]
    shown = shell.run("infer", "same", tmp_path / "all.json", "--save", tmp_path / "out.npz")
    assert f"{target}: float32 [2, 3]" in shown.stdout
    assert np.load(tmp_path / "out.npz")[target].shape == (2, 3)

    wrong = shell.run("infer", "same", f"{source}=[[1, 2]]", code=1)
    assert source in wrong.stderr
    assert wrong.stdout == ""
    for words in (["nonsense"], ["a=[1"], ["=[1]"], [f"{source}={tmp_path / 'none.npy'}"], ["[]"]):
        assert shell.run("infer", "same", *words, code=2).stdout == ""
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "pickle" in shell.run("infer", "same", f"x={tmp_path / 'evil.npy'}", code=2).stderr


def test_keys(shell: Shell, running: Running):
    made = shell.run("keys", "create", "app", "--expires-in", "1h", "--deployment", "same")
    token = made.stdout.strip()
    assert token.startswith("mlry_")
    assert token not in made.stderr
    limited = Shell(running, token)
    caller = limited.json("keys", "whoami")
    assert caller["deployments"] == ["same"]
    assert "Permissions: " in limited.run("keys", "whoami").stdout
    assert "models:read" in limited.run("models", code=3).stderr
    listed = shell.run("keys", "list").stdout
    assert "app" in listed
    assert token not in listed
    shell.run("keys", "revoke", caller["key_id"], "--yes")
    refused = limited.run("models", code=3)
    assert "MODELRY_API_KEY" in refused.stderr
    assert token not in refused.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["chat", "nothing", "hi"], "nothing"),
        (["embed", "nothing", "hi"], "nothing"),
        (["classify", "nothing", "--text", "hi"], "nothing"),
        (["detect", "nothing", str(PAGE)], "nothing"),
        (["deploy", "nothing"], "nothing"),
        (["undeploy", "nothing"], "nothing"),
        (["scale", "nothing", "1"], "nothing"),
        (["logs", "nothing"], "nothing"),
        (["versions", "nothing"], "nothing"),
        (["alias", "set", "nothing", "a", "1"], "nothing"),
        (["pull", "nothing"], "nothing"),
        (["keys", "create", "x", "--role", "king"], "role"),
    ],
)
def test_what_the_server_refuses_is_one_line_and_code_1(shell: Shell, words: list[str], part: str):
    result = shell.run(*words, code=1)
    assert result.stderr.startswith("Error: ")
    assert part in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["scale", "x", "many"],
        ["scale", "x", "2..1"],
        ["scale", "x", "1", "--idle-unload", "soon"],
        ["deploy", "x", "--traffic", "1=50"],
        ["deploy", "x@1", "--traffic", "1=100"],
        ["deploy", "x", "--option", "threads"],
        ["deploy", "x", "--replicas", "0"],
        ["classify", "x"],
        ["classify", "x", "no-such-file.png"],
        ["chat", "x", "--json"],
        ["logs", "x", "--follow", "--json"],
        ["keys", "create", "x", "--expires-in", "0s"],
        ["register", "no-such-file"],
    ],
)
def test_wrong_usage_is_code_2(shell: Shell, words: list[str]):
    result = shell.run(*words, code=2)
    assert "Usage:" in result.stderr
    assert result.stdout == ""


def test_no_server_is_code_3(shell: Shell):
    shell.environment = {"MODELRY_URL": "http://127.0.0.1:9", "MODELRY_API_KEY": "key-of-nobody"}
    result = shell.run("models", code=3)
    assert "modelry up" in result.stderr
    assert "key-of-nobody" not in result.output


def test_a_manifest_says_its_own_name(shell: Shell, tmp_path: Path):
    (tmp_path / "model.yaml").write_text("name: a\ntask: tensor\nfiles: {model: a.onnx}\nx: 1\n")
    (tmp_path / "a.onnx").write_bytes(identity(1, ("batch", 2)).SerializeToString())
    assert "--name" in shell.run("register", tmp_path, "--name", "b", code=2).stderr
    assert "line 4" in shell.run("register", tmp_path, code=1).stderr


def test_the_catalogue_is_listed(shell: Shell):
    entries = shell.json("catalog")
    shown = shell.run("catalog").stdout
    assert all(entry["name"] in shown for entry in entries)


def test_doctor_looks_at_everything(shell: Shell):
    findings = {one["name"]: one for one in shell.json("doctor")["findings"]}
    assert findings["server"]["verdict"] == "good"
    assert findings["api key"]["found"] == "owner, role owner"
    assert findings["runtime onnx"]["verdict"] == "good"
    assert {"python", "sqlite", "disk", "port", "sandbox"} <= set(findings)


def test_usage_traces_and_prices(shell: Shell, tmp_path: Path):
    (tmp_path / "used.onnx").write_bytes(identity(1).SerializeToString())
    shell.run("register", tmp_path / "used.onnx", "--task", "tensor", "--deploy")
    for _ in range(2):
        shell.run("infer", "used", "x=[[1, 2, 3]]")

    def rows(*words: object) -> list[dict[str, str]]:
        table = csv.DictReader(io.StringIO(shell.run("usage", *words).stdout, newline=""))
        return [row for row in table if row["deployment"] == "used"]

    one, other = (row["request_id"] for row in rows("--requests"))
    assert "Version digest  sha256:" in shell.run("trace", one).stdout
    assert shell.json("trace", other)[0]["status"] == "ok"
    assert "no-such-request" in shell.run("trace", "no-such-request", code=1).stderr
    assert "used" in shell.run("usage", "--by", "deployment", "--status", "ok").stdout
    (total,) = shell.json("usage", "--by", "task", "--deployment", "used")
    assert (total["group"], total["units"]["items"]) == ({"task": "tensor"}, 2)
    amounts = {row["unit"]: row["amount"] for row in rows("--csv")}
    assert amounts["requests"] == "2"
    price = shell.json("prices", "add", "items", "0.5", "EUR", "--per", "1000", "--task", "tensor")
    assert price["price_id"] in shell.run("prices", "list").stdout
    ended = shell.json("prices", "end", price["price_id"], "--yes")
    assert ended["valid_until"] >= ended["valid_from"]
