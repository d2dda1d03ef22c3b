"""Every setting of the server, from flags and `MODELRY_*` environment variables."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from modelry.domain.errors import InvalidInput
from modelry.domain.quotas import check_limits
from modelry.domain.sandbox import SandboxLevel, SandboxPolicy


def _default_key_quota() -> dict[str, int | float | str]:
    return {"api_requests_per_second": 200.0}


def _default_data() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "modelry"


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "modelry"


Names = Annotated[tuple[str, ...], NoDecode]
"""Several values; written with commas in between."""

_ORIGIN = re.compile(r"https?://[a-z0-9_.:\[\]-]+")
_HOST_NAME = re.compile(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]+")


class Settings(BaseSettings):
    """One field per setting; the environment variable is `MODELRY_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="MODELRY_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8080, description="Port of the HTTP doors; 0 takes a free one."
    )
    grpc_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8081, description="Port of the gRPC door; 0 takes a free one."
    )
    data: Path = Field(
        default_factory=_default_data,
        description="Folder of the database, models and secrets; by default in the user's data "
        "folder.",
    )
    secrets: Path | None = Field(
        None,
        description="Folder of the server's secrets, of which all servers on one database need "
        "the same; by default `secrets` in the data folder.",
    )
    blobs: Path | None = Field(
        None,
        description="Folder of the models' files, which all servers on one database share; by "
        "default `blobs` in the data folder.",
    )
    cache: Path = Field(
        default_factory=_default_cache,
        description="Folder of downloads that can be fetched again.",
    )
    owner_key: SecretStr | None = Field(
        None,
        description="The owner's API key (URL-safe, at least 32 characters); by default one is "
        "made at the first start.",
    )
    starter: bool = Field(default=True, description="Fetch and deploy the starter models.")
    tls: Literal["off", "auto"] = Field(
        "off",
        description="`auto` listens with TLS on both ports, under a certificate of the server's "
        "own authority, which is made at the first start.",
    )
    tls_cert: Path | None = Field(
        None, description="PEM file of the certificate to listen with, issuers after it."
    )
    tls_key: Path | None = Field(
        None, description="PEM file of the certificate's key, readable for its owner alone."
    )
    insecure: bool = Field(
        default=False, description="Allow listening on a non-loopback address without TLS."
    )
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of a PostgreSQL database, with a role that owns nothing; by "
        "default SQLite in the data folder.",
    )
    database_owner_url: SecretStr | None = Field(
        None,
        description="URL of the same database with the role that owns the tables, used at the "
        "start to bring the schema up to date; by default the role of the database URL does that.",
    )
    accept_lost_pepper: bool = Field(
        default=False,
        description="Go on with another secret of API keys than the one that the keys in the "
        "database were made under: none of them is valid any more.",
    )
    encryption_provider: str | None = Field(
        None,
        description="Where the key-encryption key lives: `file` (in the data folder), "
        "`environment`, `aws-kms` or an installed provider; by default `environment` if "
        "`MODELRY_ENCRYPTION_KEY` is set, else `file`.",
    )
    encryption_key: SecretStr | None = Field(
        None, description="The key-encryption key: base64 of 32 random bytes."
    )
    encryption_old_keys: SecretStr | None = Field(
        None,
        description="Former key-encryption keys, separated by commas, under which data keys may "
        "still be wrapped.",
    )
    encryption_old_provider: str | None = Field(
        None,
        description="A provider under whose keys data keys may still be wrapped, while they move "
        "to another one: start with both, rotate, then take it away.",
    )
    encryption_kms_key: str = Field(
        "", description="Id, ARN or alias of the key in AWS KMS, for the provider `aws-kms`."
    )
    encryption_kms_endpoint: str | None = Field(
        None, description="URL of AWS KMS, if not the region's own."
    )
    audit_key: SecretStr | None = Field(
        None,
        description="The secret of the audit log (64 hexadecimal digits), the same for all servers "
        "on one database; by default one is made in the data folder.",
    )
    audit_heads: Path | None = Field(
        None,
        description="File that signed heads of the audit log are appended to; best on another "
        "disk than the database. By default in the data folder.",
    )
    presidio: str | None = Field(
        None,
        description="Have Presidio redact kept requests as well: an installed spaCy pipeline such "
        "as `en_core_web_sm`, or `patterns` for no names. Needs the extra `presidio`.",
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        64 * 2**20, description="Largest body of a prediction request, in bytes."
    )
    max_upload_bytes: Annotated[int, Field(ge=1)] = Field(
        64 * 2**30, description="Largest uploaded or fetched file, in bytes."
    )
    tenant_requests: Annotated[int, Field(ge=1)] = Field(
        8192, description="Open requests that one tenant may have at once."
    )
    tenant_quota: dict[str, int | float | str] = Field(
        default_factory=dict,
        description="Limits of every tenant, where the platform set no others, as JSON such as "
        """'{"requests_per_second": 50, "tokens_per_day": 1000000}'.""",
    )
    key_quota: dict[str, int | float | str] = Field(
        default_factory=_default_key_quota,
        description="Limits of every key, where nobody set others, as JSON.",
    )
    usage_records_days: Annotated[float, Field(ge=1, le=36500)] = Field(
        30.0, description="Days that records of single requests are kept, so that they are traced."
    )
    usage_totals_days: Annotated[float, Field(ge=1, le=36500)] = Field(
        1100.0, description="Days that totals of usage, by the minute, are kept."
    )
    work_memory_bytes: Annotated[int, Field(ge=2**28)] | None = Field(
        None,
        description="Memory that the process of one piece of work (import, training) may use, in "
        "bytes; by default no limit of its own.",
    )
    work_scratch_bytes: Annotated[int, Field(ge=2**20)] = Field(
        4 * 2**30,
        description="What the scratch folder, in memory, of one piece of work may hold, in bytes.",
    )
    work_threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Threads that one piece of work computes with; by default as many as there "
        "are cores, and for explanations by gradients one less.",
    )
    work_gpu: bool = Field(
        default=True,
        description="Whether jobs that train may compute on NVIDIA GPUs of this machine.",
    )
    work_niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        19,
        description="How far work stands back behind serving when cores are short, 0 (not) to 19.",
    )
    jobs: Annotated[int, Field(ge=0, le=256)] = Field(
        2,
        description="Jobs that run on this server at once, not counting the light kinds; 0 leaves "
        "all jobs to other servers.",
    )
    light_jobs: Annotated[int, Field(ge=1, le=256)] = Field(
        2,
        description="Jobs of the light kinds (imports, derivations, registrations, deployments) "
        "that run on this server at once, beside the others; and as many explanations by gradients "
        "that callers wait for.",
    )
    tenant_jobs: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="Jobs of one tenant that run at once on all servers together, and as many of "
        "the light kinds; by default as many as there is room for.",
    )
    drain_s: Annotated[float, Field(ge=0)] = Field(
        10.0, description="Seconds that open requests get to end at shutdown."
    )
    allow_private_sources: bool = Field(
        default=False, description="Let models be fetched from private and loopback addresses."
    )
    public_url: str | None = Field(
        None,
        description="URL under which clients reach this server, such as `https://models.example."
        "com`, where it differs from the address listened on.",
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        10_000,
        description="HTTP connections at once; fewer where the system allows fewer open files. "
        "Further ones are answered 503.",
    )
    allowed_hosts: Names = Field(
        (),
        description="Further host names that are answered to, with commas in between; "
        "`.example.com` stands for all names below it, `*` for any. Loopback names, the address "
        "listened on and the host of the public URL need no mention.",
    )
    allow_input_urls: Names = Field(
        (),
        description="Hosts that images to predict from may be fetched from when a request names "
        "their URL, with commas in between; `.example.com` stands for all names below it, `*` for "
        "any public host. By default nothing is fetched.",
    )
    cors_origins: Names = Field(
        (),
        description="Origins of web pages that may call this server from a browser, such as "
        "`https://app.example.com`, with commas in between; by default none but its own.",
    )
    require_sandbox: SandboxLevel = Field(
        SandboxLevel.NONE,
        description="Least level of the workers' sandbox: none, basic, isolated or strict. Below "
        "it no model is uploaded, registered or loaded.",
    )
    sandbox_read: str = Field(
        "",
        description="More files and folders that every worker may read, with ':' between them.",
    )
    sign_in_file: Path | None = Field(
        None,
        description="YAML file of the OpenID Connect issuers that people sign in with; see the "
        "how-to page on sign-in. By default nobody signs in, and API keys are the only way.",
    )
    session_hours: Annotated[float, Field(gt=0, le=720)] = Field(
        12.0, description="Hours after which a session ends, used or not."
    )
    session_idle_minutes: Annotated[float, Field(gt=0, le=43200)] = Field(
        60.0, description="Minutes without a request after which a session ends."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )

    @field_validator("owner_key")
    @classmethod
    def _key_is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(
            r"[A-Za-z0-9._~-]{32,256}", value.get_secret_value()
        ):
            raise ValueError("expected 32 to 256 URL-safe characters (letters, digits, . _ ~ -)")
        return value

    @field_validator("tenant_quota", "key_quota")
    @classmethod
    def _limits_are_known(
        cls, value: dict[str, int | float | str], info: ValidationInfo
    ) -> dict[str, int | float | str]:
        try:
            check_limits(value, for_key=info.field_name == "key_quota")
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("audit_key")
    @classmethod
    def _audit_key_is_hexadecimal(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value.get_secret_value()):
            raise ValueError("expected 64 hexadecimal digits, such as `openssl rand -hex 32` gives")
        return value

    @field_validator("allowed_hosts", "allow_input_urls", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_hosts", "allow_input_urls")
    @classmethod
    def _are_host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(one.lower().strip("[]") for one in value)
        for name in names:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' is no host name; write names without scheme, port and path"
                )
        return names

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(one.lower() for one in value)
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"'{origin}' is no origin; write scheme, host and port, such as "
                    "'https://app.example.com', without a path"
                )
        return origins

    @field_validator("public_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = value.lower().rstrip("/")
        if not _ORIGIN.fullmatch(url):
            raise ValueError(
                "expected scheme and host, such as 'https://models.example.com', without a path"
            )
        return url

    @field_validator("sandbox_read")
    @classmethod
    def _paths_are_absolute(cls, value: str) -> str:
        for path in filter(None, value.split(os.pathsep)):
            if not Path(path).is_absolute() or Path(path) == Path("/"):
                raise ValueError(f"expected absolute paths below /, with '{os.pathsep}' between")
        return value

    @property
    def sandbox(self) -> SandboxPolicy:
        """What is asked of the workers' sandbox."""
        paths = filter(None, self.sandbox_read.split(os.pathsep))
        return SandboxPolicy(self.require_sandbox, tuple(map(Path, paths)))

    @model_validator(mode="after")
    def _loopback_or_insecure(self) -> Settings:
        if not self.uses_tls and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"listening on {self.host} without TLS would send keys and data in the clear; "
                "pass --tls auto or --tls-cert and --tls-key, or use 127.0.0.1 behind a TLS proxy; "
                "--insecure (MODELRY_INSECURE=1) goes without if the network is trusted"
            )
        return self

    @model_validator(mode="after")
    def _one_certificate(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together (MODELRY_TLS_CERT, _TLS_KEY)")
        if self.tls == "auto" and self.tls_cert is not None:
            raise ValueError("give --tls auto, or --tls-cert and --tls-key, not both")
        return self

    @property
    def uses_tls(self) -> bool:
        """Whether both ports listen with TLS."""
        return self.tls == "auto" or self.tls_cert is not None


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
