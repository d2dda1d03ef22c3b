"""Deleting tenants: everything goes, nothing else does, and a crash at any step costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from modelry.domain.access import Principal
from modelry.domain.errors import Conflict
from modelry.domain.tenants import DeletionStage
from modelry.services.tenancy.deletion import SETTLE, TenantDeletions
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.tenants import TenantsService
from modelry.testing import samples
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID


class Crash(BaseException):
    """The process ends here; nothing catches it."""


class World:
    """Files, keys, replicas and the trail, which end the process at the step that is chosen."""

    def __init__(self) -> None:
        self.files = {OTHER_TENANT_ID: [10, 20], "default": [30]}
        self.alive = {OTHER_TENANT_ID: ["k1"], "default": ["k2"]}
        self.destroyed: dict[str, list[str]] = {}
        self.running = {OTHER_TENANT_ID}
        self.trail: list[tuple[str, str, Mapping[str, Any]]] = []
        self.steps = 0
        self.crash_at = -1

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crash

    @contextmanager
    def around(self) -> Iterator[None]:
        """A place to end before and after something is done."""
        self.step()
        yield
        self.step()

    def measure(self, tenant_id: str) -> tuple[int, int]:
        with self.around():
            sizes = self.files.get(tenant_id, [])
            return len(sizes), sum(sizes)

    def delete_all(self, tenant_id: str) -> None:
        with self.around():
            self.files.pop(tenant_id, None)

    def destroy(self, tenant_id: str) -> Mapping[str, Any]:
        with self.around():
            gone = self.destroyed.setdefault(tenant_id, [])
            gone += self.alive.pop(tenant_id, [])
            return {"data_keys": list(gone)}

    def has_replicas(self, tenant_id: str) -> bool:
        return tenant_id in self.running

    def append(self, tenant_id: str, **entry: Any) -> None:
        with self.around():
            self.trail.append((tenant_id, entry["action"], entry["detail"]))


class CrashingStore:
    """The deletions of a database, with a place to end around each change."""

    def __init__(self, database: MemoryDatabase, world: World) -> None:
        self._deletions = database.deletions
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._deletions, name)
        if name in ("find", "pending"):
            return method

        def changed(*args: Any) -> Any:
            with self._world.around():
                return method(*args)

        return changed


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def asked(database: MemoryDatabase, tenancy: TenancyService, owner: Principal, clock) -> Principal:
    """Deleting the other tenant was asked for."""
    tenants = TenantsService(database.keys, database.deletions, tenancy, clock=clock)
    for key_id in ("k1", "k2"):
        key = samples.api_key(key_id, OTHER_TENANT_ID)
        database.keys.write(OTHER_TENANT_ID, lambda records, key=key: records.put(key))
    tenants.delete(owner, OTHER_TENANT_ID, "Other")
    return owner


def deletions(database: MemoryDatabase, world: World, clock) -> TenantDeletions:
    """As after a start: nothing is remembered but what is kept."""
    return TenantDeletions(
        CrashingStore(database, world),  # type: ignore[arg-type] # it is one, by __getattr__
        world,
        world,
        world,
        world,
        clock=clock,
    )


def test_rows_stay_until_every_server_knows_and_replicas_have_ended(
    database: MemoryDatabase, world: World, asked: Principal, clock
) -> None:
    deleting = deletions(database, world, clock)
    for moment, running in ((NOW, False), (NOW + SETTLE, True)):
        clock.now = moment
        world.running = {OTHER_TENANT_ID} if running else set()
        deleting.advance()
        found = database.deletions.find(OTHER_TENANT_ID)
        assert found is not None
        assert found.stage is DeletionStage.STOPPING
        assert OTHER_TENANT_ID in database.states()
    world.running = set()
    deleting.advance()
    assert OTHER_TENANT_ID not in database.states()


def test_a_crash_at_any_step_is_made_good_by_the_next_start(
    database: MemoryDatabase, tenancy: TenancyService, owner: Principal, asked: Principal, clock
) -> None:
    steps = complete(database, World(), clock).steps
    assert steps > 15
    for crash_at in range(1, steps + 1):
        fresh = MemoryDatabase()
        samples.add_tenants(fresh)
        keys = TenancyService(fresh.keys, b"p" * 32, clock=clock)
        tenants = TenantsService(fresh.keys, fresh.deletions, keys, clock=lambda: NOW)
        for key_id in ("k1", "k2"):
            key = samples.api_key(key_id, OTHER_TENANT_ID)
            fresh.keys.write(OTHER_TENANT_ID, lambda records, key=key: records.put(key))
        tenants.delete(samples.principal(), OTHER_TENANT_ID, "Other")
        world = World()
        world.crash_at, world.running, clock.now = crash_at, set(), NOW + SETTLE
        with pytest.raises(Crash):
            deletions(fresh, world, clock).advance()
        complete(fresh, world, clock)
        # an entry that was written just before the crash is written again, and says the same
        assert [one[2] for one in world.trail] == [world.trail[0][2]] * len(world.trail)
        assert len(world.trail) == 1 or crash_at >= steps - 3, crash_at


def test_of_several_servers_one_writes_the_certificate(
    database: MemoryDatabase, world: World, asked: Principal, clock
) -> None:
    clock.now, world.running = NOW + SETTLE, set()
    servers = [deletions(database, world, clock) for _ in range(2)]
    append = world.append

    def meanwhile(tenant_id: str, **entry: Any) -> None:
        servers[1].advance()
        append(tenant_id, **entry)

    world.append = meanwhile  # type: ignore[method-assign] # both are at it
    servers[0].advance()
    assert len(world.trail) == 1
    found = database.deletions.find(OTHER_TENANT_ID)
    assert found is not None
    assert found.stage is DeletionStage.DONE


def test_a_server_that_is_late_takes_nothing_back(
    database: MemoryDatabase, world: World, asked: Principal, clock
) -> None:
    """Its stage is done by then, and its count of what it destroyed is not the whole."""
    clock.now, world.running = NOW + SETTLE, set()
    late, quick = (deletions(database, world, clock) for _ in range(2))
    destroy = world.destroy

    def overtaken(tenant_id: str) -> Mapping[str, Any]:
        world.destroy = destroy  # type: ignore[method-assign] # the other server is not late
        destroy(tenant_id)
        quick.advance()
        return {"data_keys": []}

    world.destroy = overtaken  # type: ignore[method-assign] # this one is
    late.advance()
    found = database.deletions.find(OTHER_TENANT_ID)
    assert found is not None
    assert found.stage is DeletionStage.DONE
    assert found.destroyed["encryption"] == {"data_keys": ["k1"]}
    assert found.destroyed["rows"] == {"api_keys": 2, "tenants": 1}
    assert len(world.trail) == 1


def complete(database: MemoryDatabase, world: World, clock) -> World:
    """Bring the deletion to its end and check what it leaves."""
    clock.now = NOW + SETTLE
    world.running = set()
    deletions(database, world, clock).advance()
    clock.now += SETTLE  # should it have been killed while it wrote the certificate
    deletions(database, world, clock).advance()
    clock.now += SETTLE
    deletions(database, world, clock).advance()
    found = database.deletions.find(OTHER_TENANT_ID)
    assert found is not None
    assert found.stage is DeletionStage.DONE
    assert found.destroyed["rows"] == {"api_keys": 2, "tenants": 1}
    assert (found.destroyed["files"], found.destroyed["file_bytes"]) == (2, 30)
    assert found.destroyed["encryption"] == {"data_keys": ["k1"]}
    assert sorted(database.states()) == ["default"]
    assert world.files == {"default": [30]}
    assert world.alive == {"default": ["k2"]}
    tenant_id, action, certificate = world.trail[-1]
    assert (tenant_id, action) == ("default", "tenants.destroyed")
    assert certificate["destroyed"] == found.destroyed
    assert certificate["tenant_id"] == OTHER_TENANT_ID
    assert "Other" not in str(certificate), "the certificate holds no word of the tenant's"
    return world


def test_an_id_is_never_used_again(
    database: MemoryDatabase, tenancy: TenancyService, world: World, asked: Principal, clock
) -> None:
    tenants = TenantsService(database.keys, database.deletions, tenancy, clock=clock)
    with pytest.raises(Conflict):
        tenants.create(asked, OTHER_TENANT_ID, "New")
    complete(database, world, clock)
    clock.now += timedelta(days=10_000)
    with pytest.raises(Conflict, match="not used again"):
        tenants.create(asked, OTHER_TENANT_ID, "New")
    assert OTHER_TENANT_ID not in database.states()


def test_one_that_fails_does_not_keep_the_others(
    database: MemoryDatabase, tenancy: TenancyService, world: World, asked: Principal, clock
) -> None:
    tenants = TenantsService(database.keys, database.deletions, tenancy, clock=lambda: NOW)
    tenants.create(asked, "first", "First")
    tenants.delete(asked, "first", "First")
    clock.now, world.running = NOW + SETTLE, set()
    destroy = world.destroy

    def refuse(tenant_id: str) -> Mapping[str, Any]:
        if tenant_id == "first":
            raise OSError("the key service cannot be reached")
        return destroy(tenant_id)

    world.destroy = refuse  # type: ignore[method-assign] # a failure that mends itself
    deletions(database, world, clock).advance()
    assert sorted(database.states()) == ["default", "first"]
    world.destroy = destroy  # type: ignore[method-assign]
    deletions(database, world, clock).advance()
    assert sorted(database.states()) == ["default"]
