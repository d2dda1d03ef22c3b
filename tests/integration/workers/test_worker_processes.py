"""What worker processes do to the gateway, and the gateway to them: with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from tests.support.onnx_models import allocating, endless, growing, tiny_cnn
from tests.support.worker_stack import OWNER, worker_stack

from modelry.adapters.processes import pool
from modelry.domain.deployments import ReplicaState, Scale
from modelry.domain.errors import DeadlineExceeded, ModelFailed, ModelryError, ReplicaLost
from modelry.services.deployments import supervisor

pytestmark = pytest.mark.anyio

IMAGE = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
ONE = np.ones(1, np.float32)


async def until(condition, within_s=20.0):
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.02)


def answering(call):
    """A caller that waits for the answer, and goes away when it is cancelled."""
    return asyncio.create_task(call.answer())


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_killed_worker_fails_its_calls_and_is_back_for_the_next(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("endless", endless())
        pid = stack.pid("endless")
        calls = [stack.start("endless", x=ONE) for _ in range(3)]
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(ReplicaLost):
                await asyncio.wait_for(call.answer(), 10)
        await until(lambda: stack.replica("endless").restarts == 1)
        await until(lambda: stack.replica("endless").state is ReplicaState.READY)
        assert stack.pid("endless") != pid


async def test_a_crash_in_native_code_is_told_without_traces_and_paths(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("endless", endless())
        call = stack.start("endless", x=ONE)
        await asyncio.sleep(0.1)
        os.kill(stack.pid("endless"), signal.SIGSEGV)
        with pytest.raises(ReplicaLost):
            await asyncio.wait_for(call.answer(), 10)
        await until(lambda: stack.replica("endless").reason is not None)
        reason = stack.replica("endless").reason
        assert "SIGSEGV" in reason
        assert "Segmentation fault" in reason
        assert "/" not in reason


async def test_the_next_call_after_a_crash_waits_for_the_restart(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        expected = (await stack.infer("cnn", x=IMAGE))["y"]
        os.kill(stack.pid("cnn"), signal.SIGKILL)
        await until(lambda: not stack.target("cnn").group.is_ready)
        answer = await asyncio.wait_for(stack.infer("cnn", x=IMAGE), 20)
        np.testing.assert_array_equal(answer["y"], expected)


async def test_a_hanging_run_is_killed_and_other_models_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "HEARTBEAT_S", 0.2)
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        await stack.deploy("endless", endless(), hang_timeout_s=1.0)
        call = stack.start("endless", x=ONE)
        answered = await stack.infer("cnn", x=IMAGE)
        with pytest.raises(ReplicaLost):
            await asyncio.wait_for(call.answer(), 15)
        await until(lambda: stack.replica("endless").reason is not None)
        assert "hung" in stack.replica("endless").reason
        np.testing.assert_array_equal((await stack.infer("cnn", x=IMAGE))["y"], answered["y"])


async def test_a_stopped_process_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "HEARTBEAT_S", 0.2)
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn(), hang_timeout_s=1.0)
        pid = stack.pid("cnn")
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: is_gone(pid))
        await asyncio.wait_for(stack.infer("cnn", x=IMAGE), 20)


async def test_a_deadline_ends_a_run_and_keeps_the_worker(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("endless", endless(), deadline_s=0.3)
        pid = stack.pid("endless")
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(stack.start("endless", x=ONE).answer(), 10)
        assert stack.pid("endless") == pid


async def test_clients_that_go_away_in_mid_batch_leave_no_slot_behind(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        expected = (await stack.infer("cnn", x=IMAGE))["y"]
        group = stack.target("cnn").group
        for _ in range(20):
            calls = [answering(stack.start("cnn", x=IMAGE)) for _ in range(60)]
            await asyncio.sleep(0)
            for call in calls[::3]:
                call.cancel()
            kept = [call for index, call in enumerate(calls) if index % 3]
            for _header, body in await asyncio.gather(*kept):
                got = np.frombuffer(body, np.float32)
                np.testing.assert_allclose(got, expected[0], rtol=1e-4, atol=1e-4)
        await until(lambda: group.in_flight == 0 and group.links[0].in_flight == 0)
        assert group.accounts.open_requests() == 0
        assert stack.replica("cnn").restarts == 0


async def test_a_caller_that_goes_away_stops_the_engine(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("endless", endless())
        call = answering(stack.start("endless", x=ONE))
        await asyncio.sleep(0.1)
        call.cancel()
        link = stack.target("endless").group.links[0]
        await until(lambda: link.in_flight == 0, 5)
        assert stack.replica("endless").restarts == 0


async def test_one_request_that_asks_for_too_much_memory_fails_alone(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("zeros", allocating(), memory_bytes=400 * 2**20)
        pid = stack.pid("zeros")
        with pytest.raises(ModelFailed) as failure:
            await stack.infer("zeros", n=np.array([10**10]))
        assert "/" not in failure.value.message.replace("and/or", "")
        answer = await stack.infer("zeros", n=np.array([1000]))
        assert answer["y"] == 0
        assert stack.pid("zeros") == pid


async def test_a_model_that_grows_without_end_ends_at_its_limit(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("growing", growing(), memory_bytes=500 * 2**20)
        call = stack.start("growing", x=np.ones(2**18, np.float32))
        with pytest.raises(ModelryError) as failure:
            await asyncio.wait_for(call.answer(), 60)
        if isinstance(failure.value, ReplicaLost):
            await until(lambda: stack.replica("growing").reason is not None)
            assert "out of memory" in stack.replica("growing").reason
            assert "500 MiB" in stack.replica("growing").reason
        else:
            assert isinstance(failure.value, ModelFailed)


async def test_a_replica_that_never_fits_its_limit_is_given_up_with_the_reason(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(supervisor, "BACKOFF_S", (0.05,))
    monkeypatch.setattr(supervisor, "MAX_FAILURES", 2)
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn(), ready=False, memory_bytes=2**20)
        with pytest.raises(ModelFailed) as failure:
            await asyncio.wait_for(stack.infer("cnn", x=IMAGE), 30)
        assert "limit is 1 MiB" in failure.value.message
        assert stack.replica("cnn").state is ReplicaState.FAILED
        assert stack.replica("cnn").restarts == 2


async def test_a_file_that_cannot_be_loaded_fails_once_with_the_reason(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("broken", b"nothing like a model", ready=False)
        with pytest.raises(ModelFailed) as failure:
            await asyncio.wait_for(stack.infer("broken", x=IMAGE), 20)
        assert "broken.onnx" in failure.value.message
        status = stack.replica("broken")
        assert status.state is ReplicaState.FAILED
        assert status.restarts == 0


async def test_idle_replicas_are_unloaded_and_loaded_again_on_a_call(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn(), Scale(0, 1, idle_unload_s=0.3), ready=False)
        assert not stack.deployments.replicas(OWNER, "cnn")
        await asyncio.wait_for(stack.infer("cnn", x=IMAGE), 20)
        pid = stack.pid("cnn")
        await until(lambda: is_gone(pid))
        await asyncio.wait_for(stack.infer("cnn", x=IMAGE), 20)


async def test_unloading_answers_what_is_open_first(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        calls = [stack.start("cnn", x=IMAGE) for _ in range(200)]
        await asyncio.gather(stack.deployments.unload(OWNER, "cnn"), *(c.answer() for c in calls))
        assert not stack.deployments.replicas(OWNER, "cnn")


async def test_sigterm_to_a_worker_is_a_clean_end_and_it_is_restarted(tmp_path):
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        pid = stack.pid("cnn")
        os.kill(pid, signal.SIGINT)
        await stack.infer("cnn", x=IMAGE)
        assert stack.pid("cnn") == pid
        os.kill(pid, signal.SIGTERM)
        # a request that comes before the gateway knows of the end is told so; this one comes after
        await until(lambda: is_gone(pid) and stack.replica("cnn").pid != pid)
        await asyncio.wait_for(stack.infer("cnn", x=IMAGE), 20)


async def test_many_starts_and_stops_leak_nothing(tmp_path):
    process = psutil.Process()
    others = set(process.children())
    async with worker_stack(tmp_path) as stack:
        await stack.deploy("cnn", tiny_cnn())
        await stack.deployments.restart(OWNER, "cnn")
        await stack.deployments.load(OWNER, "cnn")
        before = process.num_fds()
        for _ in range(6):
            await stack.deployments.restart(OWNER, "cnn")
            await stack.deployments.load(OWNER, "cnn")
        assert process.num_fds() <= before
        assert len(set(process.children()) - others) == 1
    assert not set(process.children()) - others


GATEWAY = """
import asyncio, sys
from pathlib import Path
from modelry.services.deployments import supervisor
from tests.support.onnx_models import endless
from tests.support.worker_stack import worker_stack
import numpy as np

async def main():
    async with worker_stack(Path(sys.argv[1])) as stack:
        await stack.deploy("endless", endless())
        call = stack.start("endless", x=np.ones(1, np.float32))
        print(stack.pid("endless"), flush=True)
        await call.answer()

asyncio.run(main())
"""


async def test_a_worker_ends_with_its_gateway_even_in_mid_run(tmp_path):
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY, str(tmp_path), stdout=subprocess.PIPE
    )
    pid = int(await asyncio.wait_for(gateway.stdout.readline(), 30))
    assert not is_gone(pid)
    gateway.kill()
    await gateway.wait()
    await until(lambda: is_gone(pid), 5)
