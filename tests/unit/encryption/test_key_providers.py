from __future__ import annotations

from dataclasses import replace

import pytest

from modelry.adapters.crypto import providers
from modelry.adapters.crypto.environment import EnvironmentKeys
from modelry.adapters.crypto.key_file import KeyFile
from modelry.adapters.crypto.providers import ProviderChoice, open_provider
from modelry.domain.errors import InvalidInput, KeyUnavailable
from modelry.services.encryption.ports import KeyContext
from modelry.services.encryption.service import EncryptionService
from modelry.testing.data_key_store import MemoryDataKeyStore
from modelry.testing.encryption import encoded_key

KEY = b"d" * 32
HERE = KeyContext("default", "k1")


@pytest.fixture(params=["file", "environment"])
def provider(request, tmp_path):
    if request.param == "file":
        return KeyFile(tmp_path / "secrets" / "keys")
    return EnvironmentKeys(encoded_key())


def test_a_key_comes_back_where_it_belongs(provider):
    wrapped = provider.wrap(KEY, HERE)
    assert wrapped.kek_id.startswith(provider.kind)
    assert KEY not in wrapped.wrapped
    assert provider.unwrap(wrapped, HERE) == KEY
    for elsewhere in (KeyContext("other", "k1"), KeyContext("default", "k2")):
        with pytest.raises(KeyUnavailable, match="damaged"):
            provider.unwrap(wrapped, elsewhere)


def test_a_lost_key_is_told_with_what_to_restore(provider, tmp_path):
    wrapped = replace(provider.wrap(KEY, HERE), kek_id="vault:7")
    with pytest.raises(KeyUnavailable, match=r"vault:7.*(Restore|Start)"):
        provider.unwrap(wrapped, HERE)


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "secrets" / "keys"
    KeyFile(path).wrap(KEY, HERE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o640)
    with pytest.raises(KeyUnavailable, match="0640"):
        KeyFile(path).wrap(KEY, HERE)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"keys": []}', b'{"keys": ["AAAA"]}',
                                     b'{"keys": [3]}', b'{"keys": 3}', b"[]"])  # fmt: skip
def test_a_damaged_file_is_never_written_over(tmp_path, content):
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    for use in (lambda: KeyFile(path).wrap(KEY, HERE), KeyFile(path).renew):
        with pytest.raises(KeyUnavailable, match="backup"):
            use()
    assert path.read_bytes() == content


def test_a_link_is_no_key_file(tmp_path):
    KeyFile(tmp_path / "real").wrap(KEY, HERE)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(KeyUnavailable):
        KeyFile(tmp_path / "link").wrap(KEY, HERE)


def test_no_file_is_made_by_looking(tmp_path):
    wrapped = KeyFile(tmp_path / "lost").wrap(KEY, HERE)
    (tmp_path / "lost").unlink()
    with pytest.raises(KeyUnavailable, match="secrets/lost"):
        KeyFile(tmp_path / "lost").unwrap(wrapped, HERE)
    assert not (tmp_path / "lost").exists()


def test_generations_are_kept_while_they_are_needed(tmp_path):
    keys = KeyFile(tmp_path / "keys")
    wrapped = []
    for _ in range(3):
        wrapped.append(keys.wrap(KEY, HERE))
        keys.renew()
    assert len({one.kek_id for one in wrapped}) == 3
    assert [keys.unwrap(one, HERE) for one in wrapped] == [KEY] * 3
    keys.retire({wrapped[1].kek_id})
    for kept in wrapped[1:]:  # the one before the newest stays in any case
        assert keys.unwrap(kept, HERE) == KEY
    with pytest.raises(KeyUnavailable):
        keys.unwrap(wrapped[0], HERE)
    assert keys.wrap(KEY, HERE).kek_id not in {one.kek_id for one in wrapped}


def test_older_keys_of_the_environment_still_unwrap():
    wrapped = EnvironmentKeys(encoded_key(1)).wrap(KEY, HERE)
    rotated = EnvironmentKeys(encoded_key(2), [encoded_key(1)])
    assert rotated.unwrap(wrapped, HERE) == KEY
    assert rotated.wrap(KEY, HERE).kek_id != wrapped.kek_id
    with pytest.raises(KeyUnavailable, match="MODELRY_ENCRYPTION_OLD_KEYS"):
        EnvironmentKeys(encoded_key(2)).unwrap(wrapped, HERE)


@pytest.mark.parametrize("text", ["", "secret", "AAAA", "é" * 44, encoded_key() + "AAAA"])
def test_what_is_no_key_is_refused_without_being_shown(text):
    with pytest.raises(InvalidInput, match="base64 of 32 bytes") as told:
        EnvironmentKeys(text)
    assert not text or text not in told.value.message


def test_the_choice(tmp_path):
    choice = ProviderChoice(kind=None, key_file=tmp_path / "keys")
    assert open_provider(choice).kind == "file"
    given = replace(choice, environment_key=encoded_key())
    assert open_provider(given).kind == "environment"
    with pytest.raises(InvalidInput, match="Take one"):
        open_provider(replace(given, kind="file"))
    with pytest.raises(InvalidInput, match="there are: file, environment, aws-kms"):
        open_provider(replace(choice, kind="vault"))
    with pytest.raises(InvalidInput, match="MODELRY_ENCRYPTION_KMS_KEY"):
        open_provider(replace(choice, kind="aws-kms"))


def test_data_keys_move_from_one_provider_to_another(tmp_path):
    store = MemoryDataKeyStore()
    choice = ProviderChoice(kind=None, key_file=tmp_path / "keys")
    sealed = EncryptionService(store, open_provider(choice)).seal("default", "x", b"y")
    moved = replace(choice, kind="environment", environment_key=encoded_key())
    with pytest.raises(KeyUnavailable, match="MODELRY_ENCRYPTION_OLD_PROVIDER"):
        EncryptionService(store, open_provider(moved)).check()
    moving = EncryptionService(store, open_provider(replace(moved, former_kind="file")))
    moving.check()
    assert moving.unseal("default", "x", sealed) == b"y"
    assert moving.rotate().rewrapped == 1
    (tmp_path / "keys").unlink()
    alone = EncryptionService(store, open_provider(moved))
    assert alone.unseal("default", "x", sealed) == b"y"
    back = replace(moved, kind="file", former_kind="environment")
    assert EncryptionService(store, open_provider(back)).unseal("default", "x", sealed) == b"y"


def test_another_package_may_have_a_provider(tmp_path, monkeypatch):
    class Vault(EnvironmentKeys):
        kind = "vault"

    class Point:
        name = "vault"

        def load(self):
            return lambda: Vault(encoded_key(7))

    monkeypatch.setattr(providers, "entry_points", lambda group: [Point()])
    opened = open_provider(ProviderChoice(kind="vault", key_file=tmp_path / "keys"))
    wrapped = opened.wrap(KEY, HERE)
    assert wrapped.kek_id.startswith("vault:")
    assert opened.unwrap(wrapped, HERE) == KEY
    with pytest.raises(InvalidInput, match="aws-kms, vault"):
        open_provider(ProviderChoice(kind="other", key_file=tmp_path / "keys"))
