"""Chooses the provider of key-encryption keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from modelry.adapters.crypto.aws_kms import AwsKmsKeys
from modelry.adapters.crypto.environment import EnvironmentKeys
from modelry.adapters.crypto.key_file import KeyFile
from modelry.domain.errors import InvalidInput, KeyUnavailable, NotSupported
from modelry.services.encryption.ports import KeyContext, KeyProvider, WrappedKey

GROUP = "modelry.key_providers"
OWN = ("file", "environment", "aws-kms")


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """What the settings say; `kind` None means `environment` where a key is given, else `file`.

    `former_kind` is a provider under whose keys data keys may still be wrapped.
    """

    kind: str | None
    key_file: Path
    environment_key: str | None = None
    environment_old_keys: Sequence[str] = ()
    former_kind: str | None = None
    kms_key: str = ""
    kms_endpoint: str | None = None


class MovingKeys:
    """Implements `KeyProvider` while data keys move from one provider to another.

    Args:
        current: wraps.
        former: unwraps what `current` did not wrap.
    """

    def __init__(self, current: KeyProvider, former: KeyProvider) -> None:
        self._current = current
        self._former = former
        self.kind = current.kind

    def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyProvider.wrap`."""
        return self._current.wrap(key, context)

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyProvider.unwrap`."""
        if wrapped.kek_id.startswith(f"{self._current.kind}:"):
            return self._current.unwrap(wrapped, context)
        try:
            return self._former.unwrap(wrapped, context)
        except KeyUnavailable as first:
            try:
                return self._current.unwrap(wrapped, context)
            except KeyUnavailable as second:
                raise KeyUnavailable(f"{first.message} {second.message}") from None

    def renew(self) -> None:
        """See `KeyProvider.renew`."""
        self._current.renew()

    def retire(self, kept: Collection[str]) -> None:
        """See `KeyProvider.retire`; the former provider keeps its keys."""
        self._current.retire(kept)


def open_provider(choice: ProviderChoice) -> KeyProvider:
    """The chosen provider; with a former one, both.

    Raises:
        InvalidInput: what it needs is not set, or there is no such provider.
        NotSupported: what it needs is not installed, or breaks.
    """
    kind = choice.kind or ("environment" if choice.environment_key else "file")
    if choice.former_kind not in (None, kind):
        former = _opened(replace(choice, kind=choice.former_kind))
        return MovingKeys(_opened(replace(choice, kind=kind)), former)
    if kind != "environment" and choice.environment_key:
        raise InvalidInput(
            f"MODELRY_ENCRYPTION_KEY is set, and the provider is '{kind}', which does not take "
            "it. Take one of the two away.",
            param="encryption_provider",
        )
    return _opened(replace(choice, kind=kind))


def _opened(choice: ProviderChoice) -> KeyProvider:
    match choice.kind:
        case "file":
            return KeyFile(choice.key_file)
        case "environment":
            return EnvironmentKeys(choice.environment_key or "", choice.environment_old_keys)
        case "aws-kms":
            return AwsKmsKeys(choice.kms_key, choice.kms_endpoint)
    return _installed(str(choice.kind))


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
