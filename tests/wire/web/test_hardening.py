"""What a server does about hosts, origins, pages, slow callers and floods, over real sockets."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import httpx2
import pytest
from tests.support.operating import Operator
from tests.support.raw_http import connect, read_answer, send
from tests.support.server import Running
from tests.support.server import server as running_server
from tests.support.wire_models import multiplier

PUBLIC = "models.example.com"
FRIEND = "https://app.example.com"
DOORS = ["/healthz", "/docs", "/v1/models", "/v2", "/v2/models/double/infer", "/api/v1/whoami"]
TENSOR = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"public_url": f"https://{PUBLIC}", "cors_origins": FRIEND}
    with running_server(tmp_path_factory.mktemp("web") / "data", **settings) as running:
        operator = Operator(running)
        operator.serve("double", multiplier(2))
        operator.load("double")
        yield running
        operator.close()


def netloc(server: Running) -> str:
    return urlsplit(server.url).netloc


def request(
    server: Running, target: str, hosts: list[bytes], *lines: str, body: bytes = b""
) -> bytes:
    method = "POST" if target.endswith("/infer") else "GET"
    head = [f"{method} {target} HTTP/1.1".encode("latin-1")]
    head += [b"Host: " + host for host in hosts]
    head += [
        f"Authorization: Bearer {server.key}".encode(),
        f"Content-Length: {len(body)}".encode(),
    ]
    head += [line.encode() for line in lines]
    return b"\r\n".join([*head, b"", b""]) + body


HOSTILE_HOSTS = {
    "another name": ([b"evil.example"], 421),
    "another address": ([b"127.0.0.2"], 421),
    "the same address as a number": ([b"2130706433"], 421),
    "the same address in hex": ([b"0x7f000001"], 421),
    "a name below": ([b"localhost.evil.example"], 421),
    "a name with underscores": ([b"_evil_.example"], 421),
    "a public suffix trick": ([b"evilmodels.example.com"], 421),
    "none": ([], 400),
    "empty": ([b""], 400),
    "two": ([b"localhost", b"evil.example"], 400),
    "the same twice": ([b"localhost", b"localhost"], 400),
    "a list": ([b"localhost, evil.example"], 400),
    "a user": ([b"evil@localhost"], 400),
    "a user and password": ([b"localhost:80@evil.example"], 400),
    "a port that is none": ([b"localhost:abc"], 400),
    "a port too high": ([b"localhost:65536"], 400),
    "two ports": ([b"localhost:80:81"], 400),
    "blanks": ([b"local host"], 400),
    "a tab": ([b"local\thost"], 400),
    "other letters": (["löcalhost".encode()], 400),
    "a full-width dot": (["evil\uff0eexample".encode()], 400),
    "punycode": ([b"xn--lcalhost-n4a"], 421),
    "two trailing dots": ([b"localhost.."], 400),
    "a path": ([b"localhost/evil"], 400),
    "a fragment": ([b"localhost#evil"], 400),
    "a back-slash": ([b"localhost\\evil.example"], 400),
    "a scheme": ([b"http://localhost"], 400),
    "NUL": ([b"localhost\x00evil"], 400),
    "a bare line feed": ([b"localhost\nX-Evil: 1"], 400),
    "a line feed and a host": ([b"localhost\nHost: evil.example"], 400),
    "a folded line": ([b"localhost\r\n evil.example"], 400),
    "a zone": ([b"[::1%25lo]"], 400),
    "half a bracket": ([b"[::1"], 400),
    "long": ([b"a" * 8000], 400),
}


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(("hosts", "status"), HOSTILE_HOSTS.values(), ids=HOSTILE_HOSTS)
def test_hostile_hosts_are_refused_at_every_door(
    hardened: Running, path: str, hosts: list[bytes], status: int
) -> None:
    answer = send(hardened, request(hardened, path, hosts, body=TENSOR))
    # the parser splits lines at a bare line feed: then there is a second header, or a second host
    assert answer.status == status or (answer.status == 200 and hosts == [b"localhost\nX-Evil: 1"])
    assert not re.search(rb"evil|l\xc3\xb6cal", answer.body)
    assert "location" not in answer.headers
    if answer.status != 200:
        error = answer.json()["error"]
        assert "Host" in (error if isinstance(error, str) else error["message"]) or status == 400
        assert isinstance(error, str) is (path.startswith("/v2") and "code" not in error)


def test_hosts_of_this_server_are_answered(hardened: Running) -> None:
    port = urlsplit(hardened.url).port
    for host in (
        f"127.0.0.1:{port}", "127.0.0.1", "localhost", "LOCALHOST:1", "localhost.", "[::1]:80",
        "[0:0:0:0:0:0:0:1]", PUBLIC, f"{PUBLIC}:443", PUBLIC.upper(),
    ):  # fmt: skip
        for path in DOORS:
            answer = send(hardened, request(hardened, path, [host.encode()], body=TENSOR))
            assert answer.status == 200, (host, path, answer)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/healthz", b"localhost", 200),
        ("http://localhost/v2/models/double/infer", b"localhost", 200),
        ("http://evil.example/healthz", b"localhost", 421),
        ("http://evil.example/v2/models/double/infer", b"localhost", 421),
        ("http://localhost/healthz", b"evil.example", 421),
        ("http://a:b@localhost/healthz", b"localhost", 400),
        ("http://localhost@evil.example/healthz", b"localhost", 400),
        ("//evil.example/healthz", b"localhost", 404),
        ("ftp://localhost/healthz", b"localhost", 400),
        ("healthz", b"localhost", 400),
        ("*", b"localhost", 400),
        ("http://localhost", b"localhost", 400),
    ],
)
def test_whole_urls_in_the_request_line(
    hardened: Running, target: str, host: bytes, status: int
) -> None:
    answer = send(hardened, request(hardened, target, [host], body=TENSOR))
    assert answer.status == status, answer
    assert b"evil" not in answer.body or target.startswith("//")
    assert "location" not in answer.headers


def test_http_1_0_needs_no_host(hardened: Running) -> None:
    assert send(hardened, b"GET /healthz HTTP/1.0\r\n\r\n").status == 200
    answer = send(hardened, b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n")
    assert answer.status == 421


def test_a_refused_request_leaves_the_connection_in_order(hardened: Running) -> None:
    good = request(hardened, "/v2/models/double/infer", [b"localhost"], body=TENSOR)
    bad = request(hardened, "/v2/models/double/infer", [b"evil.example"], body=TENSOR)
    with connect(hardened) as connection:
        statuses = []
        for sent in (good, good, bad, good, bad, bad, good):
            connection.sendall(sent)
            statuses.append(read_answer(connection).status)
        assert statuses == [200, 200, 421, 200, 421, 421, 200]
        connection.sendall(good + bad + good)
        pipelined = b""
        while pipelined.count(b"HTTP/1.1") < 3 or not pipelined.endswith(b"}"):
            pipelined += connection.recv(65536)
        assert re.findall(rb"HTTP/1.1 (\d+)", pipelined) == [b"200", b"421", b"200"]


FOREIGN = {
    "another site": ("Origin: https://evil.example",),
    "no origin to tell": ("Origin: null",),
    "another port": ("Origin: http://localhost:1",),
    "a look-alike": ("Origin: http://localhost.evil.example",),
    "two": ("Origin: http://localhost", "Origin: https://evil.example"),
    "cross-site": ("Sec-Fetch-Site: cross-site",),
    "same-site": ("Sec-Fetch-Site: same-site",),
    "not a file": ("Origin: file://",),
}


@pytest.mark.parametrize("lines", FOREIGN.values(), ids=FOREIGN)
def test_foreign_pages_change_and_ask_nothing(hardened: Running, lines: tuple[str, ...]) -> None:
    answer = send(
        hardened, request(hardened, "/v2/models/double/infer", [b"localhost"], *lines, body=TENSOR)
    )
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    headers = [line.split(": ") for line in lines]
    with hardened.http() as http:
        for method, path in (
            ("POST", "/api/v1/keys"),
            ("DELETE", "/api/v1/keys/owner"),
            ("POST", "/v1/chat/completions"),
            ("PUT", "/nothing"),
        ):
            sent = [*hardened.headers.items(), *[(name, value) for name, value in headers]]
            told = http.send(httpx2.Request(method, hardened.url + path, headers=sent))
            assert told.status_code == 403, (method, path, told.text)


@pytest.mark.parametrize(
    "lines",
    [("Origin: http://localhost",), ("Sec-Fetch-Site: same-origin",), ("Sec-Fetch-Site: none",)],
)
def test_own_pages_and_programs_are_answered(hardened: Running, lines: tuple[str, ...]) -> None:
    sent = request(hardened, "/v2/models/double/infer", [b"localhost"], *lines, body=TENSOR)
    assert send(hardened, sent).status == 200


def test_named_origins_may_call_and_read(hardened: Running) -> None:
    sent = request(
        hardened, "/v2/models/double/infer", [b"localhost"], f"Origin: {FRIEND}", body=TENSOR
    )
    answer = send(hardened, sent)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "access-control-allow-credentials" not in answer.headers
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    with hardened.http() as http:
        allowed = http.options("/v1/chat/completions", headers={"origin": FRIEND, **asked})
        assert allowed.status_code == 200
        refused = http.options(
            "/v1/chat/completions", headers={"origin": "https://evil.example", **asked}
        )
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


def test_no_origin_is_allowed_by_default(wired: Operator) -> None:
    for method in ("GET", "OPTIONS"):
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answer = wired.http.request(method, "/api/v1/models", headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_answers_tell_browsers_to_keep_away(hardened: Running) -> None:
    with hardened.http() as http:
        for path in ("/docs", "/openapi.json", "/v1/models", "/v2", "/api/v1/whoami", "/nothing"):
            headers = http.get(path).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "strict-transport-security" not in headers, "other servers are on this machine"
            assert (headers.get("cache-control") == "no-store") is path.startswith("/api/")
        public = http.get("/healthz", headers={"host": PUBLIC}).headers
        assert public["strict-transport-security"].startswith("max-age=")
        page = http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert "<script" not in page.text
    hot = send(hardened, request(hardened, "/v2/models/double/infer", [b"localhost"], body=TENSOR))
    assert hot.headers["x-content-type-options"] == "nosniff"


def test_hsts_is_not_promised_without_tls(wired: Operator) -> None:
    assert "strict-transport-security" not in wired.http.get("/healthz").headers


TOO_LARGE = {
    "a long URL": lambda: b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a long header": lambda: (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 40_000 + b"\r\n\r\n"
    ),
    "many headers": lambda: b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: a\r\n" * 101 + b"\r\n",
    "a header without end": lambda: b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 2**20,
    "a URL without end": lambda: b"GET /" + b"a" * 2**20,
    "a hot one": lambda: (
        b"POST /v2/models/double/infer HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer x\r\nA: " + b"a" * 40_000 + b"\r\nContent-Length: 0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_long_heads_are_refused_before_they_are_kept(hardened: Running, name: str) -> None:
    answer = send(hardened, TOO_LARGE[name]())
    assert answer.status in (431, 0), answer
    if not name.endswith("end"):
        assert answer.status == 431
        error = answer.json()["error"]
        assert "at most" in (error if isinstance(error, str) else error["message"])


def test_no_endpoint_unpacks_a_body(hardened: Running) -> None:
    """A bomb of 64 MiB in 64 KiB, sent to everything that takes a body."""
    bomb = gzip.compress(b" " * 64 * 2**20, 9)
    with hardened.http() as http:
        paths = http.get("/openapi.json").json()["paths"]
        asked = 0
        for path, operations in paths.items():
            for method in set(operations) & {"post", "put", "patch"}:
                if "requestBody" not in operations[method] and not path.endswith("/infer"):
                    continue
                asked += 1
                for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
                    answer = http.request(
                        method,
                        re.sub(r"\{[^}]*\}", "double", path),
                        content=bomb,
                        headers={
                            "content-encoding": encoding,
                            "content-type": "application/json",
                            "upload-offset": "0",
                        },
                    )
                    assert 400 <= answer.status_code < 500, (path, answer.status_code)
                    is_told = "ncoding" in answer.text or "ompress" in answer.text
                    assert is_told or answer.status_code == 404, (path, answer.text)
    assert asked > 8


def test_what_is_no_http_is_told_as_json(hardened: Running) -> None:
    answer = send(hardened, b"HELO there\r\n\r\n")
    assert answer.status == 400
    assert answer.json()["error"]["code"] == "malformed_body"
    assert answer.headers["connection"] == "close"


def test_a_half_sent_answer_of_another_is_not_mixed_with_nonsense(hardened: Running) -> None:
    good = request(hardened, "/docs", [b"localhost"])
    with connect(hardened) as connection:
        connection.sendall(good + b"\x00\x01nonsense\r\n\r\n")
        answer = read_answer(connection)
        assert answer.status == 200
        assert answer.body.endswith(b"</html>\n")


@pytest.mark.parametrize("name", ["x-padding", "authorization"])
def test_long_grpc_metadata_is_refused(hardened: Running, name: str) -> None:
    with grpc.insecure_channel(hardened.grpc) as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerLive",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        assert ask(b"", metadata=((name, "a" * 1000),), timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", metadata=((name, "a" * 20_000),), timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ask(b"", timeout=20)
