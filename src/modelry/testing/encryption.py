"""Encryption for tests: the real service, over keys in memory."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from modelry.adapters.crypto.environment import EnvironmentKeys
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.services.encryption.service import EncryptionService
from modelry.testing.data_key_store import MemoryDataKeyStore
from modelry.testing.samples import OTHER_TENANT_ID


def encoded_key(number: int = 1) -> str:
    """A key for the environment; another one for each number."""
    return base64.b64encode(bytes([number]) * 32).decode()


def memory_encryption(
    tenants: Sequence[str] = (DEFAULT_TENANT_ID, OTHER_TENANT_ID),
) -> EncryptionService:
    """Encryption for `tenants` whose keys are gone with it."""
    return EncryptionService(MemoryDataKeyStore(tenants), EnvironmentKeys(encoded_key()))
