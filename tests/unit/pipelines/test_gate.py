"""Gates: which metrics they look at, and what they compare them with."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.pipelines.conftest import ME, Kit, other

from modelry.domain.access import Role
from modelry.domain.errors import Conflict, GateNotMet, InvalidInput, NotFound, PermissionDenied
from modelry.testing.jobs import FakeJobRun
from modelry.testing.samples import principal


def registered(kit: Kit, inputs: dict[str, Any] | None = None, **parameters: Any) -> Any:
    """The outcome of a job that gives the newest version of `pets` the alias `champion`."""
    asked = {"version": "pets", "alias": "champion", **parameters}
    return kit.register.run(kit.job(kit.register, inputs, **asked))


def test_a_bound_is_a_number(kit: Kit) -> None:
    version = kit.version()
    outcome = kit.measured(version, accuracy=0.9)
    told = registered(kit, {"job-2": outcome}, when=["accuracy >= 0.9"])
    assert told["conditions"] == [
        {
            "condition": "accuracy >= 0.9",
            "value": 0.9,
            "on": "digits@1, split 'test'",
            "bound": 0.9,
            "is_met": True,
        }
    ]
    assert kit.aliases() == {"champion": 1}


def test_what_is_not_good_enough_changes_nothing(kit: Kit) -> None:
    outcome = kit.measured(kit.version(), accuracy=0.9, f1=0.8)
    run = kit.job(
        kit.register, {"job-2": outcome}, version="pets", alias="champion",
        when=["accuracy > 0.9", "f1 >= 0.7", "f1 < 0.5"],
    )  # fmt: skip
    with pytest.raises(GateNotMet) as told:
        kit.register.run(run)
    message = told.value.message
    assert "pets@1 is not as good as it has to be to become pets@champion" in message
    assert "accuracy > 0.9: it is 0.9 on digits@1, split 'test'" in message
    assert "f1 < 0.5" in message
    assert "f1 >= 0.7" not in message
    assert len(run.lines) == 3
    assert kit.aliases() == {}
    assert kit.trail.entries == []


def test_it_is_compared_with_what_has_the_alias(kit: Kit) -> None:
    best = kit.version(size=3)
    kit.alias("champion", best)
    kit.measured(best, accuracy=0.8)
    kit.measured(best, accuracy=0.99, split="train")
    outcome = kit.measured(kit.version(size=4), accuracy=0.81)
    told = registered(kit, {"job-2": outcome}, when="accuracy >= champion + 0.005")
    [condition] = told["conditions"]
    assert condition["compared_with"] == "pets@1"
    assert condition["bound"] == pytest.approx(0.805)
    assert (told["version"], told["previous"]) == ("pets@2", "pets@1")
    worse = kit.measured(kit.version(size=5), accuracy=0.8)
    with pytest.raises(GateNotMet, match=r"the bound by pets@2 is 0.81"):
        registered(kit, {"job-2": worse}, when="accuracy >= champion")
    assert kit.aliases() == {"champion": 2}


def test_the_first_champion_has_nobody_to_beat(kit: Kit) -> None:
    outcome = kit.measured(kit.version(), accuracy=0.1)
    told = registered(kit, {"job-2": outcome}, when="accuracy >= champion")
    assert told["conditions"][0]["compared_with"] is None
    with pytest.raises(NotFound, match="'pets@best', which is not there"):
        registered(kit, {"job-2": outcome}, when="accuracy >= best")
    with pytest.raises(NotFound, match="'cats@champion'"):
        registered(kit, {"job-2": outcome}, when="accuracy >= cats@champion")


def test_only_the_same_rows_are_compared(kit: Kit) -> None:
    best = kit.version(size=3)
    kit.alias("champion", best)
    kit.measured(best, accuracy=0.8, dataset_digest="sha256:" + "e" * 64)
    kit.measured(other(best), accuracy=0.8)
    outcome = kit.measured(kit.version(size=4), accuracy=0.9)
    with pytest.raises(Conflict, match="modelry evaluate pets@1 --on digits@1 --split test"):
        registered(kit, {"job-2": outcome}, when="accuracy >= champion")
    kit.measured(best, f1=0.8)
    with pytest.raises(Conflict, match="by 'accuracy'"):
        registered(kit, {"job-2": outcome}, when="accuracy >= champion")
    kit.measured(best, accuracy=0.8)
    assert registered(kit, {"job-2": outcome}, when="accuracy >= champion")["version"] == "pets@2"


def test_a_condition_holds_by_every_evaluation_before(kit: Kit) -> None:
    version = kit.version()
    inputs = {
        "job-2": kit.measured(version, accuracy=0.9),
        "job-3": kit.measured(version, accuracy=0.6, split="hard"),
        "job-4": kit.measured(kit.version("cats"), accuracy=0.1),
    }
    assert len(registered(kit, inputs, when="accuracy >= 0.6")["conditions"]) == 2
    with pytest.raises(GateNotMet, match="split 'hard'"):
        registered(kit, inputs, when="accuracy >= 0.7")


def test_what_the_training_told_counts_where_nothing_was_measured(kit: Kit) -> None:
    kit.version()
    trained = {"version": "pets@1", "metrics": {"validation_accuracy": 0.7, "note": "x"}}
    inputs = {"job-2": trained}
    assert registered(kit, inputs, when="validation_accuracy > 0.6")["conditions"][0] == {
        "condition": "validation_accuracy > 0.6", "value": 0.7, "bound": 0.6, "is_met": True,
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="must be measured by an evaluation"):
        registered(kit, inputs, when="validation_accuracy >= pets@1")
    with pytest.raises(InvalidInput, match="there are: validation_accuracy"):
        registered(kit, inputs, when="accuracy > 0.6")


def test_the_newest_evaluation_counts_where_no_job_comes_before(kit: Kit) -> None:
    version = kit.version()
    with pytest.raises(InvalidInput, match="there are: none"):
        registered(kit, when="accuracy >= 0.5")
    kit.measured(version, accuracy=0.9)
    kit.measured(other(version), accuracy=0.9)
    kit.measured(version, accuracy=0.4)
    with pytest.raises(GateNotMet, match=r"it is 0\.4"):
        registered(kit, when="accuracy >= 0.5")


def test_metrics_are_told_to_those_alone_who_may_see_models(kit: Kit) -> None:
    outcome = kit.measured(kit.version(), accuracy=0.9)
    told = kit.deploy.check(ME, {"version": "pets", "when": ["accuracy > 0.99"]})
    caller = principal(Role.INFERENCE)
    with pytest.raises(PermissionDenied):
        kit.deploy.run(FakeJobRun(told, inputs={"job-2": outcome}, principal=caller))
