"""Tenants, members and shares by the SDK, over the management API."""

import httpx2
import pytest

from modelry.client import AsyncClient
from modelry.client.errors import Conflict, InvalidInput, NotFound, PermissionDenied

pytestmark = pytest.mark.anyio


def client_of(server, token):
    return AsyncClient(
        "http://modelry.test", token, transport=httpx2.ASGITransport(server.asgi), max_retries=0
    )


async def test_a_tenant_from_its_making_to_its_deletion(server):
    async with client_of(server, server.tokens["owner"]) as home:
        made = await home.tenants.create("acme", "Acme Inc")
        assert (made.tenant.tenant_id, made.tenant.state) == ("acme", "active")
        with pytest.raises(Conflict):
            await home.tenants.create("acme", "Again")
        assert (await home.tenants.rename("acme", "Acme")).name == "Acme"
        assert [one.tenant_id for one in await home.tenants.list()] == ["acme", "default", "other"]
        async with client_of(server, made.owner.token) as acme:
            assert (await acme.tenants.own()).name == "Acme"
            with pytest.raises(PermissionDenied):
                await acme.tenants.get("acme")
            await home.tenants.suspend("acme")
            with pytest.raises(PermissionDenied) as told:
                await acme.tenants.own()
            assert told.value.code == "tenant_suspended"
            await home.tenants.resume("acme")
            assert (await acme.tenants.own()).state == "active"
        with pytest.raises(InvalidInput):
            await home.tenants.delete("acme", confirm="acme")
        begun = await home.tenants.delete("acme", confirm="Acme")
        assert begun == await home.tenants.deletion("acme")
        assert begun.stage == "stopping"
        with pytest.raises(NotFound):
            await home.tenants.get("nobody")


async def test_members(server):
    async with client_of(server, server.tokens["owner"]) as owner:
        ada = await owner.members.add("viewer", email="ada@example.com", name="Ada")
        assert await owner.members.list() == [ada]
        assert (await owner.members.change(ada.member_id, "developer")).role == "developer"
        assert (await owner.members.disable(ada.member_id)).disabled_at is not None
        assert (await owner.members.enable(ada.member_id)).disabled_at is None
        assert (await owner.members.get(ada.member_id)).email == "ada@example.com"
        with pytest.raises(Conflict):
            await owner.members.add("viewer", email="ada@example.com")


async def test_shares_and_rotation(server, owner):
    await server.register(owner)
    await owner.put("/deployments/live", json={"model": "adder"})
    async with client_of(server, server.tokens["owner"]) as home:
        acme = await home.tenants.create("acme", "Acme")
        share = await home.shares.share("live", "acme", note="a pilot")
        assert await home.shares.list() == [share]
        async with client_of(server, acme.owner.token) as other:
            (received,) = await other.shares.received()
            assert (received.shared_name, received.owner_id) == ("live@default", "default")
            await home.shares.revoke(share.grant_id)
            assert await other.shares.received() == []
        key = await home.keys.create("k", "viewer", scopes=["models:read", "self:read"])
        rotated = await home.keys.rotate(key.key.key_id, overlap_s=60)
        for token in (key.token, rotated.token):
            async with client_of(server, token) as limited:
                assert (await limited.keys.whoami()).permissions == ("models:read", "self:read")
        assert (await home.keys.rename(key.key.key_id, "other")).name == "other"
        assert (await home.keys.get(key.key.key_id)).scopes == ("models:read", "self:read")
