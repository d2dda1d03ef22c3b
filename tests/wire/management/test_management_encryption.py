from __future__ import annotations

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT

pytestmark = pytest.mark.anyio


async def test_status_and_rotation(server, owner):
    sealed = server.encryption.seal(TENANT, "x", b"secret")
    before = (await owner.get("/encryption")).json()
    assert (before["provider"], before["data_keys"], before["destroyed_keys"]) == ("file", 1, 0)
    ((old,),) = ([one["kek_id"] for one in before["key_encryption_keys"]],)
    done = (await owner.post("/encryption/rotate")).json()
    assert (done["rewrapped"], done["destroyed_meanwhile"]) == (1, 0)
    assert done["kek_id"] != old
    after = (await owner.get("/encryption")).json()
    assert after["key_encryption_keys"] == [{"kek_id": done["kek_id"], "data_keys": 1}]
    assert after["oldest_wrap"] > before["oldest_wrap"]
    assert server.encryption.unseal(TENANT, "x", sealed) == b"secret"
