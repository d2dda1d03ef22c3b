import subprocess
import sys

import pytest
from typer.testing import CliRunner

from modelry import __version__
from modelry.cli.main import app

COMMANDS = (
    *("up", "status", "doctor", "keys"),
    *("register", "pull", "catalog", "models", "versions", "alias"),
    *("deploy", "undeploy", "scale", "logs"),
    *("chat", "embed", "classify", "detect", "tabular", "infer"),
)


def run(*words, code, **environment):
    result = CliRunner().invoke(app, words, env={f"MODELRY_{k}": v for k, v in environment.items()})
    assert result.exit_code == code, result.output
    return result


def test_help_lists_every_command():
    shown = run("--help", code=0).stdout
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert "secret" not in run("--help", code=0, API_KEY="secret").output
    assert run("--version", code=0).stdout.strip() == __version__


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name):
    shown = run(name, "--help", code=0).stdout
    if name in ("alias", "keys"):
        shown = run(name, "list", "--help", code=0).stdout
    assert "--json" in shown or name == "up"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from modelry.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx2', 'numpy', 'pydantic', 'rich', 'sqlalchemy', 'fastapi', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "environment", "part"),
    [
        (["--port", "99999"], {}, "--port 99999"),
        ([], {"PORT": "abc"}, "MODELRY_PORT 'abc'"),
        (["--host", "0.0.0.0"], {}, "--insecure"),
        (["--log-level", "loud"], {}, "loud"),
        ([], {"OWNER_KEY": "short-and-secret"}, "MODELRY_OWNER_KEY"),
        ([], {"DATABASE_URL": "sqlite:///x", "MAX_BODY_BYTES": "-1"}, "MODELRY_MAX_BODY_BYTES"),
    ],
)
def test_wrong_settings_are_told_by_their_flag_or_variable(words, environment, part):
    result = run("up", *words, code=2, **environment)
    assert part in result.stderr
    assert "short-and-secret" not in result.output
    assert "Traceback" not in result.output


def test_settings_are_taken_from_flags_before_the_environment(monkeypatch):
    seen = []
    monkeypatch.setattr("modelry.bootstrap.serve", lambda settings, observer: seen.append(settings))
    words = [
        "--port",
        "1",
        "--grpc-port",
        "2",
        "--data",
        "/x",
        "--no-starter",
        "--log-level",
        "error",
    ]
    run("up", *words, code=0, PORT="9", HOST="localhost", STARTER="1")
    (settings,) = seen
    assert (settings.port, settings.grpc_port, str(settings.data)) == (1, 2, "/x")
    assert (settings.starter, settings.log_level, settings.host) == (False, "error", "localhost")


def test_a_start_that_fails_is_told_in_words(monkeypatch):
    def fail(settings, observer):
        raise PermissionError(13, "Permission denied", "/data")

    monkeypatch.setattr("modelry.bootstrap.serve", fail)
    assert run("up", code=1).stderr == "Error: Permission denied (/data)\n"


def test_the_shell_can_complete():
    done = subprocess.run(
        [sys.executable, "-m", "modelry"], capture_output=True, text=True, check=False,
        env={"_MODELRY_COMPLETE": "complete_bash", "COMP_WORDS": "modelry cha", "COMP_CWORD": "1",
             "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.split() == ["chat"]
