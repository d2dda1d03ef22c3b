"""A job that trains on a real GPU within the walls of its process; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelry.sandbox.gpus import present

if not present().count:
    pytest.skip("this machine has no NVIDIA GPU", allow_module_level=True)

import torch
from tests.support.gpu_runs import trial
from tests.support.training_kit import TrainingKit

from modelry.adapters.processes.works import ProcessWorks
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.errors import ModelryError, NotSupported

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch can use no GPU here")
MIB = 2**20


@pytest.fixture
def kit(tmp_path) -> TrainingKit:
    kit = TrainingKit(tmp_path)
    kit.works = ProcessWorks()
    kit.handler = replace(kit.handler, limits=replace(kit.handler.limits, gpu=True))
    given = trial("residual")
    (batch,) = given.data.batches("train", rows=10_000)
    columns = {name: batch.column(name) for name in batch.schema.names}
    kit.datasets.add("digits", given.data.description.schema, {"train": columns})
    return kit


def job(kit, **parameters):
    given = {"network": "residual", "epochs": 2, "device": "cuda", **parameters}
    return kit.job(
        recipe="image-classification", dataset="digits", model="reader", parameters=given
    )


def machine_of(kit):
    return kit.database.lineages.find(DEFAULT_TENANT_ID, "reader", 1).environment["machine"]


@pytest.mark.parametrize("memory_bytes", [None, 4096 * MIB])
def test_a_job_computes_on_it(kit, memory_bytes):
    kit.handler = replace(
        kit.handler, limits=replace(kit.handler.limits, memory_bytes=memory_bytes)
    )
    outcome = kit.handler.run(job(kit))
    assert outcome["parity"]["is_met"]
    assert machine_of(kit)["gpu"] == torch.cuda.get_device_name()


def test_a_job_that_keeps_to_the_cpu_has_none(kit):
    kit.handler.run(job(kit, device="cpu"))
    assert "gpu" not in machine_of(kit)


def test_a_server_that_gives_no_gpu_says_so(kit):
    kit.handler = replace(kit.handler, limits=replace(kit.handler.limits, gpu=False))
    with pytest.raises(NotSupported, match="no GPU that torch can use"):
        kit.handler.run(job(kit))


def test_memory_of_the_card_that_is_used_up_is_told(kit):
    options = {"width": 512, "blocks": 16, "batch_size": 65_536, "image_size": [1024, 1024]}
    with pytest.raises(ModelryError, match="graphics card") as found:
        kit.handler.run(job(kit, **options))
    assert found.value.code == "memory_exhausted"
