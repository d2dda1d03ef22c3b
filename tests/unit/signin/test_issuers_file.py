"""The operator's file of issuers: read as a whole, or told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelry.adapters.oidc.issuers_file import read_issuers
from modelry.domain.access import Role
from modelry.domain.errors import InvalidInput
from modelry.services.signin.issuers import TenantRule

GOOD = """\
issuers:
  corp:
    issuer: https://login.example.com/realms/acme
    client_id: modelry
    client_secret_file: {secret}
    algorithm: ES256
    tenants:
      default:
        groups: {{ml-admins: admin, ml-devs: developer}}
      research: {{}}
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    return GOOD.format(secret=secret)


def read(tmp_path: Path, text: str):
    path = tmp_path / "sign-in.yaml"
    path.write_text(text)
    return read_issuers(path)


def test_a_file_is_read(tmp_path: Path, good: str) -> None:
    ((name, (issuer, provider)),) = read(tmp_path, good).items()
    assert (name, issuer.url) == ("corp", "https://login.example.com/realms/acme")
    assert [rule.tenant_id for rule in issuer.tenants] == ["default", "research"]
    assert issuer.rule("default").role_of(frozenset({"ml-devs", "x"})) is Role.DEVELOPER
    assert issuer.rule("research").role_of(frozenset({"ml-devs"})) is None
    assert "hush" not in repr(vars(provider))


def test_the_role_with_the_most_rights_counts() -> None:
    rule = TenantRule("default", {"a": Role.VIEWER, "b": Role.ADMIN, "c": Role.INFERENCE})
    assert rule.role_of(frozenset("abc")) is Role.ADMIN
    assert rule.role_of(frozenset("ac")) is Role.VIEWER
    assert rule.role_of(frozenset()) is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("ES256", "none", "algorithm"),
        ("ES256", "HS256", "algorithm"),
        ("ES256", "rs256", "algorithm"),
        ("https://login.example.com/realms/acme", "http://login.example.com", "https://"),
        ("https://login.example.com/realms/acme", "https://a:b@login.example.com", "https://"),
        ("https://login.example.com/realms/acme", "login.example.com", "https://"),
        ("client_id: modelry", "client_id: 7", "client_id"),
        ("client_id: modelry", "client: modelry", "client"),
        ("ml-admins: admin", "ml-admins: root", "ml-admins"),
        ("  corp:", "  Corp/../x:", "Corp"),
        ("client_secret_file:", "client_secret: hush2\n    x:", "client_secret"),
        (
            "client_secret_file:",
            "client_secret_env: NOT_SET_ANYWHERE\n    client_secret_file:",
            "both",
        ),
        ("issuers:", "issuers: [", "YAML in line"),
        ("issuers:", "providers:", "issuers"),
        ("issuers:", "issuers: !!python/object/apply:os.system [id]\nx:", "YAML"),
    ],
)
def test_mistakes_are_told_with_their_place(
    tmp_path: Path, good: str, before: str, after: str, told: str
) -> None:
    with pytest.raises(InvalidInput) as wrong:
        read(tmp_path, good.replace(before, after, 1))
    assert told in wrong.value.message
    assert "hush" not in wrong.value.message
    assert wrong.value.param == "sign_in_file"


def test_files_that_are_not_there_are_told(tmp_path: Path, good: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_issuers(tmp_path / "nowhere.yaml")
    (tmp_path / "secret").unlink()
    with pytest.raises(InvalidInput, match="client_secret_file cannot be read"):
        read(tmp_path, good)


def test_two_issuers_of_one_url_are_refused(tmp_path: Path, good: str) -> None:
    second = good.replace("issuers:\n", "").replace("  corp:", "  again:")
    with pytest.raises(InvalidInput, match="same URL"):
        read(tmp_path, good + second)
