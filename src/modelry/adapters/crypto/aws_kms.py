"""The key-encryption key in AWS KMS: it never leaves there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modelry.domain.errors import InvalidInput, KeyUnavailable, NotSupported
from modelry.services.encryption.ports import KeyContext, WrappedKey

_TIMEOUT_S = 10
_DENIED = frozenset({"AccessDeniedException", "NotFoundException", "DisabledException"})


class AwsKmsKeys:
    """Implements `KeyProvider`; credentials and region come as usual for boto3.

    Needs the rights kms:Encrypt and kms:Decrypt. Every data key is bound to its tenant by the
    encryption context, which AWS also writes to its own audit log.

    Args:
        key: id, ARN or alias of the key under which data keys are wrapped. Rotation under the
            same name takes its newest material; under another name that key.
        endpoint_url: where KMS answers, if not where boto3 would look.
        client: a boto3 client, in place of one made here.

    Raises:
        NotSupported: boto3 is not installed.
        InvalidInput: no key is named, or no region is known.
    """

    kind = "aws-kms"

    def __init__(self, key: str, endpoint_url: str | None = None, client: Any = None) -> None:
        if not key:
            raise InvalidInput(
                "The provider 'aws-kms' needs the name of a key: set "
                "MODELRY_ENCRYPTION_KMS_KEY to its id, ARN or alias.",
                param="encryption_kms_key",
            )
        self._key = key
        self._client = client if client is not None else _client(endpoint_url)

    def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyProvider.wrap`."""
        answer = self._ask(
            "encrypt", KeyId=self._key, Plaintext=key, EncryptionContext=_bound(context)
        )
        return WrappedKey(str(answer["KeyId"]), bytes(answer["CiphertextBlob"]))

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyProvider.unwrap`."""
        answer = self._ask(
            "decrypt",
            KeyId=wrapped.kek_id,
            CiphertextBlob=wrapped.wrapped,
            EncryptionContext=_bound(context),
        )
        return bytes(answer["Plaintext"])

    def renew(self) -> None:
        """Nothing: KMS makes new material by itself, or the setting names another key."""

    def retire(self, kept: Collection[str]) -> None:
        """Nothing: keys are deleted in KMS."""

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except ClientError as error:
            raise _refused(str(error.response.get("Error", {}).get("Code", ""))) from None
        except BotoCoreError as error:
            raise KeyUnavailable(
                f"AWS KMS cannot be reached ({type(error).__name__}). Check the network, the "
                "credentials and the region; nothing is lost.",
                retry_after_s=10,
            ) from None
        return answer


def _client(endpoint_url: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise NotSupported(
            "The provider 'aws-kms' needs boto3, which is not installed: install modelry[aws]."
        ) from None
    config = Config(
        connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"mode": "standard"}
    )
    try:
        return boto3.client("kms", endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise InvalidInput(
            f"AWS KMS cannot be used as it is set up ({type(error).__name__}): set AWS_REGION, "
            "and MODELRY_ENCRYPTION_KMS_ENDPOINT to a URL if it is set at all.",
            param="encryption_kms_endpoint",
        ) from None


def _refused(code: str) -> KeyUnavailable:
    if code == "InvalidCiphertextException":
        return KeyUnavailable(
            "AWS KMS does not know a data key as one of its own (InvalidCiphertextException): "
            "the database was changed outside of Modelry, or belongs to another account. Restore "
            "the database from a backup, or use the account that it was made with."
        )
    if code in _DENIED:
        return KeyUnavailable(
            f"AWS KMS does not let this server use the key ({code}). Restore the key, or give "
            "the server's role kms:Encrypt and kms:Decrypt on it."
        )
    return KeyUnavailable(
        f"AWS KMS refused ({code or 'unknown error'}); nothing is lost. Try again.",
        retry_after_s=10,
    )


def _bound(context: KeyContext) -> dict[str, str]:
    return {"modelry:tenant": context.tenant_id, "modelry:data-key": context.key_id}
