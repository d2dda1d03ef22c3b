import inspect
import subprocess
import sys

import httpx2
import pytest

from modelry.client import AsyncClient, Client
from modelry.client.async_resources import AsyncDeployments, AsyncModels
from modelry.client.errors import ModelryError, NotReachable
from modelry.client.resources import Deployments


def seen_by(monkeypatch, **environment):
    for name in ("MODELRY_URL", "MODELRY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_url_and_key_come_from_the_environment(monkeypatch):
    seen_by(monkeypatch, MODELRY_URL="http://there:9/", MODELRY_API_KEY="k" * 40)
    requests = []

    def answer(request):
        requests.append(request)
        return httpx2.Response(200, json={"models": []})

    with Client(transport=httpx2.MockTransport(answer)) as client:
        client.models.list()
    assert str(requests[0].url) == "http://there:9/api/v1/models"
    assert requests[0].headers["authorization"] == "Bearer " + "k" * 40


def test_arguments_win_and_the_default_is_this_machine(monkeypatch):
    seen_by(monkeypatch, MODELRY_URL="http://there:9")
    assert Client("http://here:1").url == "http://here:1"
    seen_by(monkeypatch)
    assert Client().url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    "url", ["there:9", "ftp://x", "http://", "http://user:word@x", "http://x?a=1", "http://x/#a"]
)
def test_what_is_no_url_is_told(url):
    with pytest.raises(NotReachable):
        Client(url)


@pytest.mark.parametrize("key", ["a b", "a\nb", "ü", "\x00"])
def test_a_key_that_cannot_be_one_is_told_without_showing_it(key):
    with pytest.raises(ModelryError) as caught:
        Client("http://x", "secret" + key)
    assert "secret" not in str(caught.value)


def test_names_cannot_leave_their_place_in_a_path():
    paths = []

    def answer(request):
        paths.append(request.url.raw_path)
        return httpx2.Response(200, json={"name": "x", "task": "y"})

    with Client("http://x", transport=httpx2.MockTransport(answer)) as client:
        client.models.get("../keys?x=1#y")
        with pytest.raises(ModelryError):
            client.models.get("..")
        with pytest.raises(ModelryError):
            client.deployments.get("")
    assert paths == [b"/api/v1/models/..%2Fkeys%3Fx%3D1%23y"]


def test_methods_keep_signature_and_words_of_their_operation():
    told = inspect.signature(Client("http://x").deploy)
    assert next(iter(told.parameters)) == "name"
    assert told.return_annotation == "Deployment"
    assert "idle_unload_s" in (Deployments.deploy.__doc__ or "")
    assert inspect.iscoroutinefunction(AsyncModels.list)


def test_sync_and_async_offer_the_same():
    def public(cls):
        return {name for name in vars(cls) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)
    assert public(Deployments) == public(AsyncDeployments)


def test_the_package_is_light_until_the_sdk_is_asked_for():
    code = (
        "import sys, modelry; assert 'httpx2' not in sys.modules; "
        "from modelry import Client; assert 'httpx2' in sys.modules; "
        "bad = [m for m in sys.modules if m.startswith('modelry.') "
        "and not m.startswith('modelry.client')]; assert not bad, bad; "
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
