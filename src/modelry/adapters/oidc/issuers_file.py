"""The operator's file of issuers that people may sign in with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from modelry.adapters.oidc.provider import OidcProvider, ProviderChoice
from modelry.adapters.oidc.web import check_url
from modelry.domain.access import Role
from modelry.domain.errors import InvalidInput, SourceUnavailable
from modelry.services.signin.issuers import Issuer, TenantRule

MAX_BYTES = 2**20
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Text = Annotated[str, Field(min_length=1, max_length=512)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Tenant(_Part):
    groups: dict[Text, Annotated[Role, Field(strict=False)]] = Field(default_factory=dict)


class _Issuer(_Part):
    issuer: Text
    client_id: Text
    client_secret_env: Text | None = None
    client_secret_file: Text | None = None
    algorithm: Literal[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
    ] = "RS256"
    scopes: list[Text] = Field(default_factory=lambda: ["openid", "email", "profile"])
    groups_claim: Text = "groups"
    tenants: dict[Text, _Tenant] = Field(min_length=1)

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        try:
            return check_url(value)
        except SourceUnavailable:
            raise ValueError("expected an https:// URL (loopback may be http://)") from None

    @field_validator("scopes")
    @classmethod
    def _asks_for_identity(cls, value: list[str]) -> list[str]:
        if "openid" not in value:
            raise ValueError("must contain 'openid'")
        return value


class _File(_Part):
    issuers: dict[Name, _Issuer]


def read_issuers(path: Path) -> Mapping[str, tuple[Issuer, OidcProvider]]:
    """The issuers in the file at `path`, in its order.

    Raises:
        InvalidInput: it cannot be read, or is not what it must be; says where.
    """
    try:
        raw = path.read_bytes()
        document = yaml.safe_load(raw) if len(raw) <= MAX_BYTES else None
        found = _File.model_validate(document)
    except OSError as error:
        raise _wrong(f"it cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise _wrong(f"it is not YAML{where}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _wrong(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    urls = [one.issuer for one in found.issuers.values()]
    if len(urls) != len(set(urls)):
        raise _wrong("two issuers have the same URL; give one of them several tenants")
    return {name: _made(name, one) for name, one in found.issuers.items()}


def _made(name: str, one: _Issuer) -> tuple[Issuer, OidcProvider]:
    rules = tuple(TenantRule(tenant, rule.groups) for tenant, rule in one.tenants.items())
    choice = ProviderChoice(
        url=one.issuer,
        client_id=one.client_id,
        client_secret=_secret(name, one),
        algorithm=one.algorithm,
        scopes=tuple(one.scopes),
        groups_claim=one.groups_claim,
    )
    return Issuer(name, one.issuer, rules), OidcProvider(choice)


def _secret(name: str, one: _Issuer) -> SecretStr | None:
    if one.client_secret_env and one.client_secret_file:
        raise _wrong(f"issuers.{name}: give client_secret_env or client_secret_file, not both")
    if one.client_secret_env:
        value: Any = os.environ.get(one.client_secret_env)
        if not value:
            raise _wrong(f"issuers.{name}: the variable {one.client_secret_env} is not set")
        return SecretStr(value)
    if one.client_secret_file:
        try:
            return SecretStr(Path(one.client_secret_file).read_text().strip())
        except OSError as error:
            raise _wrong(
                f"issuers.{name}: client_secret_file cannot be read ({error.strerror})"
            ) from None
    return None


def _wrong(reason: str) -> InvalidInput:
    return InvalidInput(
        f"The file of issuers (MODELRY_SIGN_IN_FILE) cannot be used: {reason}.",
        param="sign_in_file",
    )
