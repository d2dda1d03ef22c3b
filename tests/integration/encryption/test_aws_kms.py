"""The provider `aws-kms` against a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests.support.operating import Operator
from tests.support.server import server, start
from tests.support.wire_models import multiplier

from modelry.adapters.crypto.aws_kms import AwsKmsKeys
from modelry.domain.errors import KeyUnavailable
from modelry.services.encryption.ports import KeyContext, WrappedKey
from modelry.services.encryption.service import EncryptionService
from modelry.testing.data_key_store import MemoryDataKeyStore

KEY = b"d" * 32
HERE = KeyContext("default", "k1")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in (
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_MAX_ATTEMPTS", "1"),
    ):
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def new_key(endpoint: str) -> str:
    client = boto3.client("kms", endpoint_url=endpoint)
    return str(client.create_key()["KeyMetadata"]["KeyId"])


def test_a_key_comes_back_where_it_belongs(endpoint):
    provider = AwsKmsKeys(new_key(endpoint), endpoint)
    wrapped = provider.wrap(KEY, HERE)
    assert KEY not in wrapped.wrapped
    assert provider.unwrap(wrapped, HERE) == KEY
    with pytest.raises(KeyUnavailable):
        provider.unwrap(wrapped, KeyContext("other", "k1"))
    with pytest.raises(KeyUnavailable):
        provider.unwrap(WrappedKey(wrapped.kek_id, wrapped.wrapped[:-1] + b"\0"), HERE)


def test_rotation_to_another_key(endpoint):
    store = MemoryDataKeyStore()
    sealed = EncryptionService(store, AwsKmsKeys(new_key(endpoint), endpoint)).seal(
        "default", "x", b"y"
    )
    encryption = EncryptionService(store, AwsKmsKeys(new_key(endpoint), endpoint))
    encryption.check()
    before = encryption.status().key_encryption_keys
    assert encryption.rotate().rewrapped == 1
    assert encryption.status().key_encryption_keys != before
    assert encryption.unseal("default", "x", sealed) == b"y"


def test_a_deleted_key_and_a_dead_service_are_told(endpoint):
    with pytest.raises(KeyUnavailable, match="NotFoundException"):
        AwsKmsKeys("alias/none", endpoint).wrap(KEY, HERE)
    with pytest.raises(KeyUnavailable, match="cannot be reached"):
        AwsKmsKeys("alias/none", "http://127.0.0.1:9").wrap(KEY, HERE)


def test_a_server_on_kms(endpoint, tmp_path: Path):
    data = tmp_path / "data"
    chosen = {
        "encryption_provider": "aws-kms",
        "encryption_kms_key": new_key(endpoint),
        "encryption_kms_endpoint": endpoint,
    }
    with server(data, **chosen) as running, Operator(running) as operator:
        operator.register("pets", multiplier(2))
        status = operator.call("GET", "/encryption")
        assert (status["provider"], status["data_keys"]) == ("aws-kms", 1)
        assert not (data / "secrets" / "key-encryption-keys").exists()
    with server(data, key=running.key, **chosen) as again, Operator(again) as operator:
        operator.deploy("pets")
        operator.load("pets")
        assert operator.call("POST", "/encryption/rotate", json={})["rewrapped"] == 1
    chosen["encryption_kms_endpoint"] = "http://127.0.0.1:9"
    with pytest.raises(AssertionError, match="AWS KMS cannot be reached"):
        start(data, key=running.key, **chosen)
