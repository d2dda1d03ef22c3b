"""Signing in at a terminal: the browser's last address is pasted."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, LocalIssuer, Person, local_issuer
from tests.support.server import Running
from tests.support.server import server as running_server

from modelry.client import Client, ModelryError
from modelry.client.errors import PermissionDenied, Unauthenticated
from modelry.client.signing_in import SignIn


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with local_issuer() as running:
        running.person = Person("ada", groups=["devs"])
        yield running


@pytest.fixture(scope="module")
def server(issuer: LocalIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("terminal")
    tenants = {"default": {"groups": {"devs": "developer"}}}
    corp = {"issuer": issuer.url, "client_id": CLIENT_ID, "client_secret_env": "TERMINAL_SECRET"}
    path = folder / "sign-in.yaml"
    path.write_text(json.dumps({"issuers": {"corp": {**corp, "tenants": tenants}}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERMINAL_SECRET", CLIENT_SECRET)
        with running_server(folder / "data", sign_in_file=str(path)) as running:
            yield running


def sent_back(authorization_url: str) -> str:
    """The address on which the person's browser ends."""
    address: str = httpx2.get(authorization_url).headers["location"]
    page = httpx2.get(address)
    assert page.status_code == 401
    assert "command line" in page.json()["error"]["message"]
    return address


def test_the_sdk_signs_in_acts_and_signs_out(server: Running) -> None:
    with SignIn(server.url) as begun:
        done = begun.finish(sent_back(begun.authorization_url))
    assert (done.tenant_id, done.role) == ("default", "developer")
    assert done.session.cookie.partition("=")[2] not in repr(done)
    with Client(server.url, "", session=done.session) as client:
        assert client.models.list() == []
        with pytest.raises(PermissionDenied):
            client.keys.list()
        (one,) = [one for one in client.my_sessions() if one["is_this"]]
        assert one["session_id"]
        client.sign_out()
        with pytest.raises(Unauthenticated):
            client.models.list()


@pytest.mark.parametrize(
    "address", ["", "nonsense", "http://x/auth/callback", "http://x/other?code=a&state=b"]
)
def test_other_addresses_are_told(server: Running, address: str) -> None:
    with (
        SignIn(server.url, issuer="corp") as begun,
        pytest.raises(ModelryError, match="/auth/callb"),
    ):
        begun.finish(address)


def test_an_address_of_another_sign_in_is_refused(server: Running) -> None:
    with SignIn(server.url) as theirs:
        address = sent_back(theirs.authorization_url)
    with SignIn(server.url) as mine, pytest.raises(Unauthenticated):
        mine.finish(address)


def test_a_terminal_signs_in_acts_and_signs_out(server: Running, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODELRY_")},
        "MODELRY_URL": server.url,
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "modelry", *words],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert run("models").returncode == 3
    signing = subprocess.Popen(
        [sys.executable, "-u", "-m", "modelry", "sign-in", "--no-browser"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert signing.stdout is not None
    printed = ""
    while "Paste" not in printed:
        line = signing.stdout.readline()
        assert line, printed
        printed += line
    found = re.search(r"http://\S+/authorize\S+", printed)
    assert found, printed
    rest, _ = signing.communicate(sent_back(found[0]) + "\n", timeout=60)
    assert signing.returncode == 0, rest
    assert "as developer" in rest
    file = tmp_path / "modelry" / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = run("models")
    assert listed.returncode == 0, listed.stderr
    assert run("sign-out").returncode == 0
    assert json.loads(file.read_text()) == {}
    assert run("models").returncode == 3
