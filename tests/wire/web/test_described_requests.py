"""What the server's own description allows and what it does not, by every role: never a 5xx."""

from __future__ import annotations

import http.client
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from tests.support.operating import Operator
from tests.support.server import Running
from tests.support.server import server as running_server
from tests.support.wire_models import multiplier

from modelry.domain.access import Role

EXAMPLES = 2
"""Of each operation and mode, each sent by every role."""
TRAVERSALS = [
    "..", ".", "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2f",
    "%2e%2e", "..%5c..%5cwindows%5cwin.ini", "..\\..\\etc", "%252e%252e%252f", "%c0%ae%c0%ae/",
    "%e0%80%ae", "..;/", "....//", "/etc/passwd", "%2fetc%2fpasswd", "file:%2f%2f%2fetc%2fpasswd",
    "C:%5c", "%00", "double%00.onnx", "double%0a", "%ff%fe", "%f0%9f%92%a5", "~root", "$HOME",
    "%24%7Bjndi:ldap:%2f%2f127.0.0.1%2fa%7D", "a" * 4000, "-1", "0", "9" * 30, "1e9", "NaN",
    "'%20OR%20'1'='1", "%3Cscript%3E", "double@default", "double@other", "@",
    "double%2f..%2fdouble",
    "%EF%BC%8E%EF%BC%8E%EF%BC%8F", "con", "nul", "%20", "%09", "?", "#",
]  # fmt: skip


_TELLS_TOO_MUCH = re.compile(r"root:|/tmp/|\.py\b|Traceback|bit app support")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("described") / "data") as running:
        operator = Operator(running)
        operator.serve("double", multiplier(2))
        operator.load("double")
        yield running
        operator.close()


@pytest.fixture(scope="module")
def callers(server: Running) -> Iterator[dict[str, httpx2.Client]]:
    """A client for each role, and one without a key."""
    clients = {"": httpx2.Client(base_url=server.url, timeout=60)}
    with server.http() as owner:
        for role in Role:
            made = owner.post("/api/v1/keys", json={"name": f"the {role}", "role": role})
            assert made.status_code == 201, made.text
            headers = {"authorization": f"Bearer {made.json()['token']}"}
            clients[role] = httpx2.Client(base_url=server.url, headers=headers, timeout=60)
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def document(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(server.url + "/openapi.json").json()
    return found


def described(document: dict[str, Any]) -> Iterator[Any]:
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        yield result.ok()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_role_gets_a_server_error(
    server: Running,
    callers: dict[str, httpx2.Client],
    document: dict[str, Any],
    mode: GenerationMode,
) -> None:
    failures: dict[str, str] = {}
    sent = 0
    for operation in described(document):
        for case in drawn(operation, mode):
            arguments = case.as_transport_kwargs(base_url=server.url)
            for role, client in callers.items():
                answer = transmit(client, arguments)
                sent += 1
                if answer is not None and answer.status_code >= 500:
                    what = f"{operation.label} as {role or 'nobody'}"
                    failures.setdefault(
                        what, f"{answer.status_code} {answer.text[:300]} {case.body!r:.300}"
                    )
    assert sent > 500
    assert not failures, "\n".join(f"{what}: {told}" for what, told in failures.items())


def drawn(operation: Any, mode: GenerationMode) -> list[Any]:
    """A few cases of an operation, the same in every run."""
    found: list[Any] = []

    @settings(
        max_examples=EXAMPLES, database=None, derandomize=True, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def draw(case: Any) -> None:
        found.append(case)

    try:
        draw()
    except Exception as error:
        # what has no parameters and no body cannot be asked wrongly
        if "Unsatisfiable" not in type(error).__name__ and "SkipTest" not in type(error).__name__:
            raise
    return found


def transmit(client: httpx2.Client, arguments: dict[str, Any]) -> httpx2.Response | None:
    """The answer; None where HTTP cannot carry the request."""
    headers = {
        name: value
        for name, value in dict(arguments.get("headers") or {}).items()
        if name.lower() not in ("authorization", "user-agent")
    }
    content = arguments.get("data")
    if "json" in arguments and arguments["json"] is not None:
        content = json.dumps(arguments["json"]).encode()
        headers.setdefault("content-type", "application/json")
    if isinstance(content, dict | list):
        content = json.dumps(content, default=str).encode()
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    try:
        return client.request(
            arguments["method"],
            arguments["url"],
            params=arguments.get("params"),
            headers={name: str(value) for name, value in headers.items()},
            content=content,
        )
    except (httpx2.InvalidURL, UnicodeError, ValueError, httpx2.LocalProtocolError):
        return None


def test_no_path_parameter_leads_elsewhere(server: Running, document: dict[str, Any]) -> None:
    """Sent as it stands: a client library would tidy the paths first."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {**server.headers, "content-type": "application/json"}
    asked = 0
    for path, operations in document["paths"].items():
        methods = itertools.cycle(operations)  # one for each: they share the way to the route
        for name, odd in itertools.product(re.findall(r"\{(\w+)\}", path), TRAVERSALS):
            method = next(methods)
            url = re.sub(r"\{\w+\}", "double", path.replace(f"{{{name}}}", odd))
            connection.request(method.upper(), url, b"{}", headers)
            answer = connection.getresponse()
            told = answer.read().decode(errors="replace")
            asked += 1
            assert answer.status < 500, (method, url, told)
            assert not _TELLS_TOO_MUCH.search(told.replace(odd, "")), (method, url, told)
            assert answer.headers["location"] is None, (method, url)
    connection.close()
    assert asked > 1000
