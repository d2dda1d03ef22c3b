"""Jobs that register."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.pipelines.conftest import ME, Kit

from modelry.domain.access import Role
from modelry.domain.errors import (
    Conflict,
    InvalidInput,
    ModelryError,
    NotFound,
    PermissionDenied,
    UnsupportedField,
)
from modelry.testing.lineage_store import LINEAGE
from modelry.testing.samples import principal


def test_an_alias_is_set_once_and_entered(kit: Kit) -> None:
    kit.version()
    run = kit.job(kit.register, version="pets", alias="champion")
    assert run.parameters == {"version": "pets@1", "alias": "champion"}
    told = kit.register.run(run)
    assert told == {
        "version": "pets@1", "model": "pets", "number": 1, "alias": "champion", "previous": None,
        "conditions": [],
    }  # fmt: skip
    place = ("aliases.set_alias", "/models/pets/aliases/champion")
    assert kit.trail.entries == [(*place, "intent"), (*place, "ok")]
    assert kit.register.run(run) == told  # another attempt
    assert len(kit.trail.entries) == 2
    [move] = kit.catalog.alias_history(ME, "pets")
    assert move.reason == "job job-1"


def test_a_version_becomes_one_of_another_model_with_its_lineage(kit: Kit) -> None:
    version = kit.version()
    kit.database.lineages.add(replace(LINEAGE, model_name="pets", number=1))
    run = kit.job(kit.register, version="pets@1", model="served", alias="champion")
    for _ in range(2):  # another attempt makes no other one
        told = kit.register.run(run)
        assert (told["version"], told["from"]) == ("served@1", "pets@1")
    assert kit.aliases("served") == {"champion": 1}
    made = kit.catalog.get_version(ME, "served", 1)
    assert [(one.role, one.digest) for one in made.files] == [
        (one.role, one.digest) for one in version.files
    ]
    assert made.signature == version.signature
    assert made.source == "pets@1"
    lineage = kit.database.lineages.find(ME.tenant_id, "served", 1)
    assert lineage is not None
    assert (lineage.recipe, lineage.job_id) == (LINEAGE.recipe, LINEAGE.job_id)


def test_the_version_of_a_job_before_is_meant(kit: Kit) -> None:
    kit.version()
    run = kit.job(
        kit.register, {"job-a": {"version": "pets@1"}}, version_of="job-a", alias="champion"
    )
    assert kit.register.run(run)["version"] == "pets@1"
    for outcome in ({}, {"version": 3}):
        run = kit.job(kit.register, {"job-a": outcome}, version_of="job-a", alias="champion")
        with pytest.raises(InvalidInput, match="Job 'job-a' made no version"):
            kit.register.run(run)


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({"alias": "a"}, InvalidInput, "Give 'version'"),
        ({"version": "pets", "version_of": "job-1", "alias": "a"}, InvalidInput, "not both"),
        ({"version": 3, "alias": "a"}, InvalidInput, "expected a text"),
        ({"version_of": "", "alias": "a"}, InvalidInput, "expected a text"),
        ({"version": "pets"}, InvalidInput, "Give 'alias'"),
        ({"version": "cats", "alias": "a"}, NotFound, "cats"),
        ({"version": "pets", "alias": "3"}, InvalidInput, "a number means a version"),
        ({"version": "pets", "alias": "No"}, InvalidInput, "not allowed"),
        ({"version": "pets", "model": "../x"}, InvalidInput, "not allowed"),
        ({"version": "pets", "model": 5}, InvalidInput, "expected a name"),
        ({"version": "pets", "alias": "a", "when": "x"}, InvalidInput, "not clear"),
        ({"version": "pets", "alias": "a", "force": True}, UnsupportedField, "'force'"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(
    kit: Kit, parameters: dict[str, Any], error: type[ModelryError], told: str
) -> None:
    kit.version()
    with pytest.raises(error, match=told):
        kit.register.check(ME, parameters)


def test_a_model_keeps_its_task(kit: Kit) -> None:
    kit.version()
    kit.catalog.get_model(ME, "pets")
    task = kit.catalog.get_version(ME, "pets", 1).task
    assert task == "tensor"
    add = replace(kit.catalog.get_model(ME, "pets").model, name="chatter", task="chat")
    kit.database.catalog.write(ME.tenant_id, lambda records: records.models.add(add))
    with pytest.raises(Conflict, match="has the task 'chat', and pets@1 'tensor'"):
        kit.register.check(ME, {"version": "pets", "model": "chatter"})


def test_rights_are_needed(kit: Kit) -> None:
    kit.version()
    with pytest.raises(PermissionDenied):
        kit.register.check(principal(Role.OPERATOR), {"version": "pets", "alias": "a"})
