"""Whatever is sent to whichever route: a clear refusal in our shape, never a defect."""

import asyncio
import contextlib
import json
import logging
import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.management import copied, installation

from modelry.domain.errors import ERRORS_BY_CODE
from modelry.protocols.http.errors import STATUS_BY_CODE
from modelry.protocols.management import PREFIX
from modelry.protocols.management.bodies import MAX_JSON_BYTES

OFTEN = settings(max_examples=100, deadline=None)


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, runner, template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with contextlib.ExitStack() as stack:
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres").prepared()).app
        else:
            url = copied(template, folder)
        context = installation(folder, url)
        running = runner.run(context.__aenter__())
        runner.run(_prepare(running))
        yield running
        runner.run(context.__aexit__(None, None, None))


async def _prepare(server):
    async with server.client() as owner:
        await server.register(owner)


@pytest.fixture
def ask(runner, server, caplog):
    """Sends one request and checks that the answer is one of ours."""
    client = server.client()

    def ask(method, path, **request):
        with caplog.at_level(logging.ERROR):
            answer = runner.run(client.request(method, path, **request))
        assert not caplog.records, caplog.text
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert set(error) == {"code", "message", "param"}
            assert error["code"] in ERRORS_BY_CODE
            assert answer.status_code in (STATUS_BY_CODE[error["code"]], 405)
            assert answer.status_code < 500 or error["code"] == "source_unavailable"
            assert len(answer.content) < 4000
        return answer

    yield ask
    runner.run(client.aclose())


def json_routes(server):
    """(method, path with names in it, fields of the body) of every route that takes JSON."""
    document = server.app.openapi()
    schemas = document["components"]["schemas"]
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                reference = content["application/json"]["schema"]["$ref"]
                fields = sorted(schemas[reference.rpartition("/")[2]]["properties"])
                found.append((method, path.removeprefix(PREFIX), fields))
    return found


NAMES = {"model": "adder", "alias": "a", "name": "adder", "version": "1", "upload_id": "0" * 32}


def filled(path):
    return re.sub(r"\{(\w+)\}", lambda found: NAMES.get(found[1], "none"), path)


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"{'a': 1}",
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 400 + b"}",
    b'{"a": 1,}',
    b'{"a": "\\ud800"}',
    b'{"a": "\x00"}',
    b'\xff\xfe{\x00"\x00',
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"a":' * 2000,
    b"null",
    b"1",
    b'"text"',
    b"[]",
    b"{}" * 2,
]


def test_bodies_that_are_no_objects(server, ask):
    routes = json_routes(server)
    assert len(routes) > 10
    for method, path, _ in routes:
        for body in NOT_JSON:
            answer = ask(
                method, filled(path), content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400, (path, body[:50])


def test_unknown_fields_and_queries(server, ask):
    for method, path, _ in json_routes(server):
        answer = ask(method, filled(path), json={"__proto__": 1, "constructor": 2})
        assert answer.status_code == 400
        query = ask(method, f"{filled(path)}?x=1", json={})
        assert (query.status_code, query.json()["error"]["param"]) == (400, "x")


def test_bodies_beyond_the_limit(server, ask):
    async def endless():
        while True:
            yield b" " * 65536

    for method, path, _ in json_routes(server):
        assert ask(method, filled(path), content=b" " * (MAX_JSON_BYTES + 1)).status_code == 413
        assert ask(method, filled(path), content=endless()).status_code == 413


def test_bodies_of_other_kinds(server, ask):
    for method, path, _ in json_routes(server):
        for headers in (
            {"content-type": "application/x-www-form-urlencoded"},
            {"content-type": "text/plain; charset=utf-8"},
            {"content-type": "multipart/form-data; boundary=x"},
            {"content-type": "application/json", "content-encoding": "gzip"},
            {"content-type": "/json"},
        ):
            answer = ask(method, filled(path), content=b"{}", headers=headers)
            assert answer.status_code == 400, (path, headers)
            assert answer.json()["error"]["code"] == "malformed_body"


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "\x00", "adder", "a/../b", "sha256:" + "0" * 64, "x" * 5000, "1"])
    | st.sampled_from([-1, 0, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, 1e308, 5e-324])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)
VALID = {
    "size_bytes": 3,
    "version": 1,
    "model": "adder",
    "name": "k",
    "role": "viewer",
    "file": {"name": "a.onnx", "digest": "sha256:" + "0" * 64},
    "source": "adder",
}


def test_any_values_in_known_fields(server, ask):
    routes = json_routes(server)

    @OFTEN
    @given(st.data())
    def check(data):
        method, path, fields = data.draw(st.sampled_from(routes))
        body = {name: VALID[name] for name in fields if name in VALID and data.draw(st.booleans())}
        for name in data.draw(st.lists(st.sampled_from(fields), max_size=3)):
            body[name] = data.draw(VALUES)
        try:
            content = json.dumps(body).encode()
        except UnicodeEncodeError:
            return
        ask(method, filled(path), content=content, headers={"content-type": "application/json"})

    check()


def test_any_names_in_paths(server, ask):
    document = server.app.openapi()
    operations = [
        (method, path.removeprefix(PREFIX))
        for path, methods in document["paths"].items()
        for method in methods
        if "{" in path
    ]
    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(
        ["..", "%00", "a\r\nb", "adder@1", "x" * 3000, "-1", "9" * 30, "\u202e"]
    )

    @OFTEN
    @given(st.data())
    def check(data):
        method, path = data.draw(st.sampled_from(operations))
        for name in ("model", "version", "alias", "name", "upload_id", "key_id"):
            path = path.replace(f"{{{name}}}", quote(data.draw(names), safe=""))
        ask(method, path, json={"version": 1}, headers={"upload-offset": "0"})

    check()
