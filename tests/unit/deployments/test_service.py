import asyncio
import dataclasses
from datetime import UTC, datetime

import pytest

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role, TenantState
from modelry.domain.catalog import Version
from modelry.domain.deployments import Limits, ReplicaState, Scale, TrafficShare
from modelry.domain.errors import (
    Conflict,
    InvalidInput,
    ModelFailed,
    ModelNotReady,
    NotFound,
    PermissionDenied,
)
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.frames import Kind
from modelry.services.deployments import supervisor
from modelry.services.deployments.ports import ReplicaEnd
from modelry.services.deployments.service import DeploymentsService
from modelry.services.inference.authentication import Authenticator, KeySnapshot
from modelry.services.inference.call import RawCall
from modelry.services.inference.routing import RouteTable
from modelry.services.inference.service import InferenceService
from modelry.testing.replica_pool import FakeReplicaPool, echo

pytestmark = pytest.mark.anyio

OWNER = Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])
STRANGER = Principal("t2", "k2", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])
NOW = datetime.now(UTC)
X = TensorSpec("x", Datatype.FP32, (-1, 2))


class Store:
    def __init__(self):
        self.rows = {}

    def list_all(self):
        return list(self.rows.values())

    def list(self, tenant_id):
        return [row for row in self.rows.values() if row.tenant_id == tenant_id]

    def get(self, tenant_id, name):
        return self.rows.get((tenant_id, name))

    def put(self, deployment):
        self.rows[deployment.tenant_id, deployment.name] = deployment

    def delete(self, tenant_id, name):
        return self.rows.pop((tenant_id, name), None) is not None


class Versions:
    def version(self, tenant_id, model_name, number):
        if model_name != "m" or number > 3:
            raise NotFound(f"{model_name}@{number} does not exist")
        return Version(
            tenant_id, model_name, number, f"sha256:{number}", "tensor", "echo", {},
            Signature((X,), (X,), True), (), NOW, "k1", "test",
        )  # fmt: skip

    def open_files(self, version):
        return {}


class Keys:
    def digest(self, token):
        return token

    def snapshot(self):
        return KeySnapshot({}, {}, {})


@pytest.fixture
def pool():
    return FakeReplicaPool()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
async def service(pool, store, monkeypatch):
    monkeypatch.setattr(supervisor, "BACKOFF_S", (0.001,))
    inference = InferenceService(Authenticator(Keys()), RouteTable())
    service = DeploymentsService(store, Versions(), pool, inference)
    service.inference = inference
    await service.start()
    yield service
    await service.stop(drain_s=0.1)


async def until(condition, timeout_s=5.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)


def states(service, name="m"):
    return [status.state for status in service.replicas(OWNER, name)]


async def answered(target):
    call = RawCall(OWNER, Kind.INFER, b"{}", b"hello")
    target.group.submit(call)
    async with asyncio.timeout(5):
        return await call.answer()


async def ask(service, name="m"):
    return await answered(service.inference.target(OWNER, name))


async def test_deploy_call_undeploy(service, pool, store):
    await service.deploy(OWNER, model="m", version=1)
    assert (await ask(service))[1] == b"hello"
    await service.undeploy(OWNER, "m")
    assert store.rows == {}
    with pytest.raises(NotFound):
        await ask(service)
    await until(lambda: all(replica._ended.done() for replica in pool.started))


async def test_a_crashed_replica_comes_back(service, pool):
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.READY])
    pool.started[0].kill("segfault")
    await until(lambda: len(pool.started) == 2 and states(service) == [ReplicaState.READY])
    (status,) = service.replicas(OWNER, "m")
    assert status.restarts == 1
    assert await ask(service)


async def test_a_replica_that_keeps_crashing_is_given_up_with_the_reason(service, pool):
    pool.load_failure = ReplicaEnd("out of memory")
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.FAILED])
    assert len(pool.started) == supervisor.MAX_FAILURES + 1
    with pytest.raises(ModelFailed, match="out of memory"):
        await ask(service)
    pool.load_failure = None
    await service.restart(OWNER, "m")
    assert await ask(service)


async def test_a_refused_load_is_not_tried_again(service, pool):
    pool.load_failure = ReplicaEnd("truncated file", permanent=True)
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.FAILED])
    assert len(pool.started) == 1
    with pytest.raises(ModelFailed, match="truncated"):
        await service.load(OWNER, "m")


async def test_load_on_call_and_idle_unload(service, pool):
    await service.deploy(OWNER, model="m", version=1, scale=Scale(0, 1, idle_unload_s=0.3))
    assert states(service) == []
    assert await ask(service)
    assert states(service) == [ReplicaState.READY]
    await until(lambda: states(service) == [])
    assert await ask(service)
    assert len(pool.started) == 2


async def test_waiting_requests_bring_more_replicas(service, pool, monkeypatch):
    monkeypatch.setattr("modelry.services.deployments.version_replicas.SCALE_UP_AFTER_S", 0.0)
    pool.capacity = 1
    pool.answer = lambda _: None
    await service.deploy(OWNER, model="m", version=1, scale=Scale(1, 2))
    asks = [asyncio.create_task(ask(service)) for _ in range(2)]
    await until(lambda: len(states(service)) == 2)
    await until(lambda: sum(len(one.link.calls) for one in pool.started) == 2)
    for replica in pool.started:
        for call in list(replica.link.calls):
            replica.link.finish(call, b"{}", b"late")
    assert [body for _, body in await asyncio.gather(*asks)] == [b"late", b"late"]


async def test_scale_down_lets_open_calls_end(service, pool):
    pool.answer = lambda _: None
    await service.deploy(OWNER, model="m", version=1, scale=Scale(1, 1))
    await until(lambda: states(service) == [ReplicaState.READY])
    asked = asyncio.create_task(ask(service))
    await until(lambda: pool.started[0].link.calls)
    await service.undeploy(OWNER, "m")
    link = pool.started[0].link
    link.finish(link.calls[0], b"{}", b"done")
    assert (await asked)[1] == b"done"


async def test_new_version_takes_over_without_refusing_a_request(service, pool):
    await service.deploy(OWNER, model="m", version=1)
    await ask(service)
    pool.hold_load = asyncio.Event()
    await service.deploy(OWNER, model="m", version=2)
    asked = asyncio.create_task(ask(service))
    await asyncio.sleep(0.01)
    pool.hold_load.set()
    assert (await asked)[1] == b"hello"
    assert service.inference.target(OWNER, "m").version.number == 2


async def test_traffic_is_split_by_the_shares(service):
    shares = [TrafficShare(1, 80.0), TrafficShare(2, 20.0)]
    await service.deploy(OWNER, model="m", traffic=shares)
    picked = [service.inference.target(OWNER, "m").version.number for _ in range(2000)]
    assert 0.72 < picked.count(1) / 2000 < 0.88
    assert service.inference.target(OWNER, "m", 2).version.number == 2
    with pytest.raises(NotFound, match="serves: 1, 2"):
        service.inference.target(OWNER, "m", 3)


async def test_limits_change_without_a_restart(service, pool):
    await service.deploy(OWNER, model="m", version=1)
    await service.deploy(OWNER, model="m", limits=Limits(queue=3))
    assert len(pool.started) == 1
    assert service.inference.target(OWNER, "m").group.limits.queue == 3


async def test_tenants_do_not_see_each_other(service):
    await service.deploy(OWNER, model="m", version=1)
    assert service.list(STRANGER) == []
    for use in (service.get, service.replicas, service.logs):
        with pytest.raises(NotFound):
            use(STRANGER, "m")
    with pytest.raises(NotFound):
        service.inference.target(STRANGER, "m")


async def test_rights_are_checked(service):
    viewer = dataclasses.replace(OWNER, role=Role.VIEWER, permissions=ROLE_PERMISSIONS[Role.VIEWER])
    with pytest.raises(PermissionDenied):
        await service.deploy(viewer, model="m", version=1)


async def test_wrong_deployments_are_refused(service):
    with pytest.raises(NotFound):
        await service.deploy(OWNER, model="m", version=9)
    with pytest.raises(InvalidInput):
        await service.deploy(OWNER, model="m", traffic=[TrafficShare(1, 50)])
    with pytest.raises(InvalidInput):
        await service.deploy(OWNER, model="m", version=1, name="../etc")
    await service.deploy(OWNER, model="m", version=1)
    with pytest.raises(Conflict):
        await service.deploy(OWNER, model="other", version=1, name="m")


async def test_deployments_come_back_after_a_restart(service, store, pool):
    await service.deploy(OWNER, model="m", version=1)
    again = DeploymentsService(store, Versions(), pool, service.inference)
    await again.start()
    await until(lambda: [s.state for s in again.replicas(OWNER, "m")] == [ReplicaState.READY])
    await again.stop(drain_s=0.1)


async def test_logs_belong_to_replicas(service):
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.READY])
    (replica_id,) = service.logs(OWNER, "m")
    assert "replica" in service.logs(OWNER, "m", replica_id)[replica_id][0]
    with pytest.raises(NotFound):
        service.logs(OWNER, "m", "nope")


async def test_what_waits_is_answered_by_the_version_that_it_was_routed_to(service, pool):
    pool.capacity = 1
    pool.answer = lambda _: None
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.READY])
    asks = [asyncio.create_task(ask(service)) for _ in range(3)]
    old = pool.started[0].link
    await until(lambda: old.calls)
    await service.deploy(OWNER, model="m", version=2)
    for body in (b"1", b"2", b"3"):
        await until(lambda: old.calls)
        await asyncio.sleep(0.01)
        assert not pool.started[1].link.calls
        old.finish(old.calls[0], b"{}", body)
    assert [body for _, body in await asyncio.gather(*asks)] == [b"1", b"2", b"3"]
    await until(pool.started[0]._ended.done)


async def test_what_waits_for_a_version_that_never_loaded_is_told_to_come_again(service, pool):
    pool.hold_load = asyncio.Event()
    await service.deploy(OWNER, model="m", version=1)
    asked = asyncio.create_task(ask(service))
    await asyncio.sleep(0.01)
    await service.deploy(OWNER, model="m", version=2)
    with pytest.raises(ModelNotReady, match="try again") as told:
        await asked
    assert told.value.retry_after_s


async def test_what_waits_goes_to_new_replicas_of_the_same_version(service, pool):
    pool.hold_load = asyncio.Event()
    await service.deploy(OWNER, model="m", version=1)
    asked = asyncio.create_task(ask(service))
    await asyncio.sleep(0.01)
    pool.hold_load = None
    await service.deploy(OWNER, model="m", engine_options={"threads": 2})
    assert (await asked)[1] == b"hello"


@pytest.mark.parametrize("change", ["unload", "restart"])
async def test_what_waits_while_replicas_end_is_answered_by_new_ones(service, pool, change):
    pool.capacity = 1
    pool.answer = lambda _: None
    await service.deploy(OWNER, model="m", version=1, scale=Scale(0, 1))
    asks = [asyncio.create_task(ask(service)) for _ in range(2)]
    await until(lambda: pool.started and pool.started[0].link.calls)
    old = pool.started[0].link
    pool.answer = echo
    changing = asyncio.create_task(getattr(service, change)(OWNER, "m"))
    await asyncio.sleep(0.01)
    old.finish(old.calls[0], b"{}", b"old")
    await changing
    async with asyncio.timeout(5):
        assert [body for _, body in await asyncio.gather(*asks)] == [b"old", b"hello"]


@pytest.fixture
async def other(store, service):
    """A second server on the same database."""
    inference = InferenceService(Authenticator(Keys()), RouteTable())
    other = DeploymentsService(store, Versions(), FakeReplicaPool(), inference)
    other.inference = inference
    await other.start()
    yield other
    await other.stop(drain_s=0.1)


async def test_what_another_server_changes_is_followed(service, other):
    await service.deploy(OWNER, model="m", version=1)
    with pytest.raises(NotFound):
        other.inference.target(OWNER, "m")
    await other.follow()
    await until(lambda: states(other) == [ReplicaState.READY])
    assert await ask(other) == await ask(service)

    await service.deploy(OWNER, model="m", version=2)
    await other.follow()
    assert other.inference.target(OWNER, "m").version.number == 2

    await other.undeploy(OWNER, "m")
    await service.follow()
    with pytest.raises(NotFound):
        service.get(OWNER, "m")
    with pytest.raises(NotFound):
        service.inference.target(OWNER, "m")


async def test_following_leaves_alone_what_nobody_changed(service):
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.READY])
    group, generation = (
        service.inference.target(OWNER, "m").group,
        service.inference.routes.generation,
    )
    await service.follow()
    assert service.inference.target(OWNER, "m").group is group
    assert service.inference.routes.generation == generation


async def test_a_change_builds_on_what_another_server_kept(service, other):
    await service.deploy(OWNER, model="m", version=1)
    await other.follow()
    await service.scale(OWNER, "m", Scale(2, 2))
    changed = await other.deploy(OWNER, model="m", version=2)
    assert (changed.scale, changed.traffic) == (Scale(2, 2), (TrafficShare(2),))
    await service.undeploy(OWNER, "m")
    with pytest.raises(NotFound):
        await other.scale(OWNER, "m", Scale(1, 1))
    with pytest.raises(NotFound):
        await other.undeploy(OWNER, "m")


async def test_what_cannot_be_applied_is_told_once(service, store, caplog):
    found = await service.deploy(OWNER, model="m", version=1)
    lost = dataclasses.replace(found, name="lost", traffic=(TrafficShare(9),))
    store.put(lost)
    await service.follow()
    await service.follow()
    assert len([one for one in caplog.records if "could not be applied" in one.message]) == 1
    assert service.get(OWNER, "m").name == "m"
    store.put(dataclasses.replace(lost, traffic=(TrafficShare(1),), updated_at=datetime.now(UTC)))
    await service.follow()
    assert service.get(OWNER, "lost").name == "lost"


async def test_a_replica_holds_one_tenants_version_only(service, pool, monkeypatch):
    """Whatever gives versions to deployments: a worker with another tenant's never starts."""
    await service.deploy(OWNER, model="m", version=1)
    await until(lambda: states(service) == [ReplicaState.READY])
    (mine,) = service._replicas["t1", "m"].values()
    with pytest.raises(AssertionError, match="another's version"):
        mine.become(dataclasses.replace(mine.deployment, tenant_id="t2"))
    right = Versions.version
    monkeypatch.setattr(Versions, "version", lambda self, _, *more: right(self, "t1", *more))
    started = len(pool.started)
    with pytest.raises(AssertionError, match="another's version"):
        await service.deploy(STRANGER, model="m", version=1, name="stolen")
    assert len(pool.started) == started


async def test_a_version_can_be_asked_in_private_and_by_nobody_else(service):
    version = Versions().version("t1", "m", 2)
    async with service.privately(version) as target:
        assert service.has_replicas("t1")
        assert (await answered(target))[1] == b"hello"
        assert target.group.limits.deadline_s == 3600, "no caller waits for it"
        assert not service.inference.routes.all()
        with pytest.raises(NotFound):
            service.get(OWNER, target.deployment.name)
    await asyncio.sleep(0.05)
    assert not service.has_replicas("t1")


async def test_what_is_asked_in_private_ends_when_the_tenant_is_closed(service):
    version = Versions().version("t1", "m", 2)
    async with service.privately(version) as target:
        await service.follow_tenants({"t1": TenantState.SUSPENDED})
        with pytest.raises(ModelFailed, match="its tenant was closed"):
            await answered(target)
