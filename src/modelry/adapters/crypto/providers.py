"""Chooses the provider of key-encryption keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from modelry.adapters.crypto.aws_kms import AwsKmsKeys
from modelry.adapters.crypto.environment import EnvironmentKeys
from modelry.adapters.crypto.key_file import KeyFile
from modelry.domain.errors import InvalidInput, NotSupported
from modelry.services.encryption.ports import KeyProvider

GROUP = "modelry.key_providers"
OWN = ("file", "environment", "aws-kms")


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """What the settings say; `kind` None means `environment` where a key is given, else `file`."""

    kind: str | None
    key_file: Path
    environment_key: str | None = None
    environment_old_keys: Sequence[str] = ()
    kms_key: str = ""
    kms_endpoint: str | None = None


def open_provider(choice: ProviderChoice) -> KeyProvider:
    """The chosen provider.

    Raises:
        InvalidInput: what it needs is not set, or there is no such provider.
        NotSupported: what it needs is not installed, or breaks.
    """
    kind = choice.kind or ("environment" if choice.environment_key else "file")
    if kind != "environment" and choice.environment_key:
        raise InvalidInput(
            f"MODELRY_ENCRYPTION_KEY is set, and the provider is '{kind}', which does not take "
            "it. Take one of the two away.",
            param="encryption_provider",
        )
    match kind:
        case "file":
            return KeyFile(choice.key_file)
        case "environment":
            return EnvironmentKeys(choice.environment_key or "", choice.environment_old_keys)
        case "aws-kms":
            return AwsKmsKeys(choice.kms_key, choice.kms_endpoint)
    return _installed(kind)


def _installed(kind: str) -> KeyProvider:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if kind not in found:
        raise InvalidInput(
            f"There is no provider of keys '{kind[:80]}'; there are: "
            f"{', '.join((*OWN, *sorted(found)))}.",
            param="encryption_provider",
        )
    try:
        provider: KeyProvider = found[kind].load()()
    except ImportError as error:
        raise NotSupported(
            f"The provider of keys '{kind}' cannot be imported ({error.name or 'unknown module'}); "
            "install what its package needs."
        ) from None
    return provider
