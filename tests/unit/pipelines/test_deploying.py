"""Jobs that deploy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.pipelines.conftest import ME, Kit

from modelry.domain.access import Role
from modelry.domain.deployments import Scale
from modelry.domain.errors import (
    Cancelled,
    Conflict,
    GateNotMet,
    InvalidInput,
    ModelFailed,
    ModelryError,
    NotFound,
    PermissionDenied,
    UnsupportedField,
)
from modelry.testing.jobs import FakeJobRun
from modelry.testing.samples import principal


def served(kit: Kit, name: str = "pets") -> dict[int, float]:
    found = kit.deployments.get(ME, name)
    return {one.version_number: one.percent for one in found.traffic}


def test_a_version_is_served_and_gets_its_alias(kit: Kit) -> None:
    kit.version()
    told = kit.deploy.run(kit.job(kit.deploy, version="pets", alias="live"))
    assert told == {
        "deployment": "pets", "version": "pets@1", "model": "pets", "number": 1, "previous": [],
        "alias": "live", "conditions": [],
    }  # fmt: skip
    assert served(kit) == {1: 100.0}
    assert kit.aliases() == {"live": 1}
    assert [entry[0] for entry in kit.trail.entries] == [
        "deployments.deploy", "deployments.deploy", "aliases.set_alias", "aliases.set_alias",
    ]  # fmt: skip


def test_what_was_served_is_replaced_and_keeps_its_scale(kit: Kit) -> None:
    kit.version(size=3)
    kit.do(kit.deployments.deploy(ME, model="pets", version=1, name="app", scale=Scale(1, 3)))
    kit.version(size=4)
    run = kit.job(kit.deploy, version="pets@2", deployment="app")
    assert kit.deploy.run(run)["previous"] == ["pets@1"]
    assert served(kit, "app") == {2: 100.0}
    assert kit.deployments.get(ME, "app").scale == Scale(1, 3)
    started = len(kit.pool.started)
    assert kit.deploy.run(run)["previous"] == []  # another attempt has nothing to do
    assert len(kit.pool.started) == started


def test_what_cannot_be_loaded_changes_nothing(kit: Kit) -> None:
    kit.version(size=3)
    kit.deploy.run(kit.job(kit.deploy, version="pets@1"))
    kit.version(size=4)
    kit.pool.broken = frozenset({"of size 4"})
    with pytest.raises(ModelFailed, match="a layer is missing"):
        kit.deploy.run(kit.job(kit.deploy, version="pets@2", alias="live"))
    assert served(kit) == {1: 100.0}
    assert kit.aliases() == {}


def test_what_is_not_good_enough_is_not_loaded(kit: Kit) -> None:
    outcome = kit.measured(kit.version(), accuracy=0.5)
    run = kit.job(kit.deploy, {"job-2": outcome}, version="pets", when="accuracy > 0.5")
    with pytest.raises(GateNotMet, match="to be deployed as 'pets'"):
        kit.deploy.run(run)
    assert kit.pool.started == []


def test_a_job_that_is_stopped_ends(kit: Kit) -> None:
    kit.version()
    run = kit.job(kit.deploy, version="pets")
    run.stop.set()
    with pytest.raises(Cancelled):
        kit.deploy.run(run)
    with pytest.raises(NotFound):
        kit.deployments.get(ME, "pets")


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({}, InvalidInput, "Give 'version'"),
        ({"version": "cats"}, NotFound, "cats"),
        ({"version": "pets", "deployment": "No"}, InvalidInput, "not allowed"),
        ({"version_of": "job-2", "deployment": "No"}, InvalidInput, "not allowed"),
        ({"version": "pets", "deployment": "others"}, Conflict, "serves model 'cats'"),
        ({"version": "pets", "replicas": 3}, UnsupportedField, "'replicas'"),
        ({"version": "pets", "when": ["x"]}, InvalidInput, "not clear"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(
    kit: Kit, parameters: dict[str, Any], error: type[ModelryError], told: str
) -> None:
    kit.version()
    if parameters.get("deployment") == "others":
        kit.version("cats")
        kit.do(kit.deployments.deploy(ME, model="cats", version=1, name="others"))
    with pytest.raises(error, match=told):
        kit.deploy.check(ME, parameters)


def test_a_key_for_some_deployments_deploys_these(kit: Kit) -> None:
    kit.version()
    limited = replace(ME, deployments=frozenset({"app"}))
    with pytest.raises(PermissionDenied, match="'pets' is none of them"):
        kit.deploy.check(limited, {"version": "pets"})
    told = kit.deploy.check(limited, {"version": "pets", "deployment": "app"})
    assert kit.deploy.run(FakeJobRun(told, principal=limited))["deployment"] == "app"
    later = kit.deploy.check(limited, {"version_of": "job-2"})
    inputs = {"job-2": {"version": "pets@1"}}
    with pytest.raises(PermissionDenied, match="'pets' is none of them"):
        kit.deploy.run(FakeJobRun(later, inputs=inputs, principal=limited))


def test_rights_are_needed(kit: Kit) -> None:
    kit.version()
    with pytest.raises(PermissionDenied):
        kit.deploy.check(principal(Role.VIEWER), {"version": "pets"})
    with pytest.raises(PermissionDenied):  # aliases belong to models
        kit.deploy.check(principal(Role.OPERATOR), {"version": "pets", "alias": "live"})
