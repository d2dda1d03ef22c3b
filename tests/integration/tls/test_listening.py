"""Both ports with TLS: every kind of client, what is refused, and new certificates."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx2
import numpy as np
import openai
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.support.certificates import issue, replace_pair
from tests.support.operating import Operator
from tests.support.server import Running, server
from tests.support.wire_models import multiplier

from modelry.client import AsyncClient, Client
from modelry.client.errors import NotReachable

ROW = np.array([[1, 2, 3]], np.float32)


class Secured(Operator):
    """A server with its own authority, and a model."""

    def __init__(self, running: Running) -> None:
        super().__init__(running)
        self.ca = running.data / "secrets" / "tls" / "ca.pem"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.url.removeprefix("https://").rpartition(":")
        return host, int(port)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    data = tmp_path_factory.mktemp("tls") / "data"
    with server(data, tls="auto") as running:
        assert running.url.startswith("https://")
        assert f"MODELRY_CA={data / 'secrets' / 'tls' / 'ca.pem'}" in running.output()
        with Secured(running) as operator:
            operator.serve("doubler", multiplier(2))
            yield operator


def test_curl(secured: Secured) -> None:
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    command = ["curl", "-sS", "--fail", "--cacert", str(secured.ca), "-d", json.dumps(body)]
    command += ["-H", f"Authorization: Bearer {secured.server.key}"]
    command += [f"{secured.server.url}/v2/models/doubler/infer"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["outputs"][0]["data"] == [2, 4, 6]


def test_our_clients(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    url, key = secured.server.url, secured.server.key
    with Client(url, key, ca=secured.ca) as client:
        np.testing.assert_array_equal(client.infer("doubler", {"x": ROW}).outputs["y"], ROW * 2)

    async def ask() -> None:
        async with AsyncClient(url, key, ca=str(secured.ca)) as client:
            answer = await client.infer("doubler", {"x": ROW})
            np.testing.assert_array_equal(answer.outputs["y"], ROW * 2)

    asyncio.run(ask())
    monkeypatch.setenv("MODELRY_CA", str(secured.ca))
    with Client(url, key) as client:
        assert client.is_ready()


def test_the_command_line(secured: Secured) -> None:
    command = [sys.executable, "-m", "modelry", "--url", secured.server.url]
    environment = {**os.environ, "MODELRY_API_KEY": secured.server.key}
    good = subprocess.run(
        [*command, "--ca", secured.ca, "status"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "doubler" in good.stdout
    bad = subprocess.run(
        [*command, "status"], env=environment, capture_output=True, text=True, check=False
    )
    assert bad.returncode != 0
    assert "is not trusted" in bad.stderr
    assert "--ca" in bad.stderr


def test_openai_library(secured: Secured) -> None:
    trust = ssl.create_default_context(cafile=secured.ca)
    with (
        httpx2.Client(verify=trust) as http,
        openai.OpenAI(
            base_url=f"{secured.server.url}/v1", api_key=secured.server.key, http_client=http
        ) as client,
    ):
        assert [one.id for one in client.models.list()] == ["doubler"]


def test_triton_http(secured: Secured) -> None:
    host, port = secured.address
    client = triton_http.InferenceServerClient(
        f"{host}:{port}",
        ssl=True,
        ssl_context_factory=lambda: ssl.create_default_context(cafile=secured.ca),
    )
    tensor = triton_http.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(ROW)
    answer = client.infer(
        "doubler", [tensor], headers={"authorization": f"Bearer {secured.server.key}"}
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), ROW * 2)
    client.close()


def test_triton_grpc(secured: Secured) -> None:
    with triton_grpc.InferenceServerClient(
        secured.server.grpc, ssl=True, root_certificates=str(secured.ca)
    ) as client:
        tensor = triton_grpc.InferInput("x", [1, 3], "FP32")
        tensor.set_data_from_numpy(ROW)
        answer = client.infer(
            "doubler", [tensor], headers={"authorization": f"Bearer {secured.server.key}"}
        )
        np.testing.assert_array_equal(answer.as_numpy("y"), ROW * 2)


def test_a_client_with_another_authority_sends_nothing(secured: Secured, tmp_path: Path) -> None:
    other = issue(tmp_path / "other")
    with (
        Client(secured.server.url, secured.server.key, ca=other.ca_file) as client,
        pytest.raises(NotReachable, match="is not trusted"),
    ):
        client.status()
    credentials = grpc.ssl_channel_credentials(other.ca_file.read_bytes())
    with (
        grpc.secure_channel(secured.server.grpc, credentials) as channel,
        pytest.raises(grpc.FutureTimeoutError),
    ):
        grpc.channel_ready_future(channel).result(timeout=1)


def test_a_file_that_is_no_authority_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in ("ca.pem", "missing.pem"):
        with pytest.raises(NotReachable, match=r"authority to trust cannot be used"):
            Client("https://127.0.0.1:1", "key", ca=tmp_path / path)


def handshake(address: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(address, 10), server_hostname="localhost")


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_tls_before_1_2_is_refused(secured: Secured, door: str) -> None:
    host, _, port = secured.server.grpc.rpartition(":")
    address = secured.address if door == "http" else (host, int(port))
    context = trusting(secured.ca)
    # so that it is the server who refuses, not this client
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    refused = r"ALERT_PROTOCOL_VERSION|reset|EOF"
    with pytest.raises((ssl.SSLError, ConnectionError), match=refused):
        handshake(address, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_from_1_2_on_with_http_1_1(secured: Secured, version: ssl.TLSVersion) -> None:
    context = trusting(secured.ca)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(secured.address, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_plain_requests_are_not_answered_in_the_clear(secured: Secured) -> None:
    with socket.create_connection(secured.address, 10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while data := connection.recv(1000):
            answer += data
        assert b"HTTP/" not in answer
    assert secured.http.get("/healthz").status_code == 200


def test_a_new_certificate_is_shown_and_open_connections_go_on(tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    pair.mkdir()
    first, second = issue(tmp_path / "first"), issue(tmp_path / "second")
    replace_pair(pair, first)
    files = {"tls_cert": str(pair / "cert.pem"), "tls_key": str(pair / "key.pem")}
    with server(tmp_path / "data", **files) as running:
        host, _, port = running.url.removeprefix("https://").rpartition(":")
        address = host, int(port)
        request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        with handshake(address, trusting(first.ca_file)) as kept:
            replace_pair(pair, second)
            os.kill(running.process.pid, signal.SIGHUP)
            give_up = time.monotonic() + 20
            while not _shows(address, second.ca_file):
                assert time.monotonic() < give_up, running.output()
                time.sleep(0.1)
            kept.sendall(request)
            assert kept.recv(1000).startswith(b"HTTP/1.1 200")
        assert not _shows(address, first.ca_file)
        with triton_grpc.InferenceServerClient(
            running.grpc, ssl=True, root_certificates=str(second.ca_file)
        ) as client:
            assert client.is_server_live()


def _shows(address: tuple[str, int], ca: Path) -> bool:
    try:
        handshake(address, trusting(ca)).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_a_wrong_key_is_told_at_the_start(tmp_path: Path) -> None:
    one, other = issue(tmp_path / "one"), issue(tmp_path / "other")
    command = [sys.executable, "-m", "modelry", "up", "--port", "0", "--grpc-port", "0"]
    command += ["--data", str(tmp_path / "data"), "--no-starter"]
    command += ["--tls-cert", str(one.certificate_file), "--tls-key", str(other.key_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "is not the one of the certificate" in done.stderr
    assert "Traceback" not in done.stderr
