"""Jobs that search: what is refused, what is tried, what is ended early, and going on."""

from __future__ import annotations

import orjson
import pytest
from tests.support.training_kit import LINE, TrainingKit, line_rows
from tests.support.works.steady_recipe import SteadyRecipe

from modelry.domain.errors import (
    Cancelled,
    InvalidInput,
    ModelFailed,
    NotFound,
    UnsupportedField,
    WorkFailed,
)
from modelry.services.training.search import SearchHandler
from modelry.testing.jobs import FakeJobRun
from modelry.testing.samples import principal
from modelry.training import registry

ME = principal()
RATES = {"learning_rate": {"low": 1e-4, "high": 0.3, "log": True}}


@pytest.fixture
def kit(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "recipes", lambda: {"steady": SteadyRecipe()})
    kit = TrainingKit(tmp_path)
    kit.datasets.add("line", LINE, {"train": line_rows()})
    return kit


def order(training=None, **said):
    given = {"recipe": "steady", "dataset": "line", "model": "found", "seed": 3}
    return {
        "training": given | {"parameters": {"steps": 30}} | (training or {}),
        "space": RATES,
        "trials": 8,
        "metric": "loss",
        **said,
    }


def job(kit, **said) -> FakeJobRun:
    return FakeJobRun(SearchHandler(kit.handler).check(ME, order(**said)))


def search(kit, run):
    return SearchHandler(kit.handler).run(run)


@pytest.mark.parametrize(
    ("said", "error", "expected"),
    [
        ({"space": {}}, InvalidInput, "1 to 32 parameters to try"),
        ({"space": [1]}, InvalidInput, "1 to 32 parameters to try"),
        ({"space": {"rate": [1]}}, InvalidInput, "no parameter 'rate'"),
        ({"space": {"learning_rate": []}}, InvalidInput, "has 0 choices"),
        ({"space": {"learning_rate": [0.1, -1.0]}}, InvalidInput, "greater than 0"),
        ({"space": {"learning_rate": 0.1}}, InvalidInput, "list of choices, or an object"),
        ({"space": {"learning_rate": {"low": 1}}}, InvalidInput, "'low' and 'high'"),
        ({"space": {"learning_rate": {"low": 2, "high": 1}}}, InvalidInput, "below 'high'"),
        ({"space": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, InvalidInput, "above 0"),
        ({"space": {"learning_rate": {"low": "a", "high": 1}}}, InvalidInput, "expected a number"),
        ({"space": {"steps": {"low": 1, "high": 9, "step": 0.5}}}, InvalidInput, "by 0.5"),
        ({"space": {"steps": [1, 2]}}, InvalidInput, "and given as a parameter too"),
        ({"space": {"steps": {"low": 1, "high": 10**9}}, "training": {"parameters": {}}},
         InvalidInput, "less than or equal to 100000"),
        ({"trials": 0}, InvalidInput, "from 1 to 1000"),
        ({"trials": True}, InvalidInput, "from 1 to 1000"),
        ({"metric": ""}, InvalidInput, "'metric' should name the curve"),
        ({"goal": "up"}, InvalidInput, "'minimize' or 'maximize'"),
        ({"prune": 1}, InvalidInput, "'prune' should be true or false"),
        ({"training": 3}, InvalidInput, "'training' should be an object"),
        ({"epochs": 3}, UnsupportedField, "'epochs' is not known"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_before(kit, said, error, expected):
    given = order(**({} if said.get("training") == 3 else said))
    if said.get("training") == 3:
        given["training"] = 3
    with pytest.raises(error, match=expected):
        SearchHandler(kit.handler).check(ME, given)


def test_what_a_training_refuses_a_search_refuses(kit):
    with pytest.raises(NotFound, match="'none' does not exist"):
        job(kit, training={"dataset": "none"})


def test_the_goal_follows_from_the_metric(kit):
    assert job(kit).parameters["goal"] == "minimize"
    assert job(kit, metric="val_accuracy").parameters["goal"] == "maximize"
    assert job(kit, metric="val_accuracy", goal="minimize").parameters["goal"] == "minimize"


def test_the_best_trial_becomes_a_version(kit):
    run = job(kit, prune=False)
    outcome = search(kit, run)
    best = outcome["best"]
    complete = [one for one in outcome["trials"] if one["state"] == "complete"]
    assert len(complete) == len(outcome["trials"]) == 8
    assert best["value"] == min(one["value"] for one in complete)
    assert len({one["parameters"]["learning_rate"] for one in complete}) == 8
    assert outcome["version"] == "found@1"
    lineage = kit.database.lineages.find(run.principal.tenant_id, "found", 1)
    assert lineage.parameters["learning_rate"] == best["parameters"]["learning_rate"]
    assert lineage.parameters["steps"] == 30
    assert run.curves[8]["best_loss"] == best["value"]
    assert {one.work for one in kit.orders} == {"train"}
    assert len(kit.orders) == 9
    kept = orjson.loads(kit.content(run.artefacts["trials.json"][0]))
    assert [one["number"] for one in kept] == list(range(8))
    assert set(run.artefacts) == {"trials.json", "notes.txt", "version-model.onnx"}


def test_bad_trials_are_ended_early(kit):
    run = job(kit, trials=14, space={"learning_rate": [1e-5, 0.1]}, register=False)
    outcome = search(kit, run)
    states = {one["state"] for one in outcome["trials"]}
    assert states == {"complete", "pruned"}
    kept = orjson.loads(kit.content(run.artefacts["trials.json"][0]))
    for one in kept:
        if one["state"] == "pruned":
            assert one["parameters"]["learning_rate"] == 1e-5
            assert len(one["curve"]) < 30
    assert outcome["best"]["parameters"]["learning_rate"] == 0.1
    assert "version" not in outcome


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(kit):
    run = job(kit, space={"diverge_at": [2, 100]}, trials=10, prune=False, register=False)
    outcome = search(kit, run)
    failed = [one for one in outcome["trials"] if one["state"] == "failed"]
    assert failed
    assert all("at step 2" in one["reason"] for one in failed)
    assert outcome["best"]["parameters"]["diverge_at"] == 100


def test_a_search_without_any_good_trial_fails_with_the_reason(kit):
    with pytest.raises(ModelFailed, match=r"None of 2 trials told 'loss'.*The loss is nan"):
        search(kit, job(kit, space={"diverge_at": [1]}, trials=2))
    with pytest.raises(ModelFailed, match="There is no curve 'accuracy'; there are: loss"):
        search(kit, job(kit, metric="accuracy", trials=2))


class Dying:
    """Loses the attempt's lease, or is stopped, at the start of a piece of work."""

    def __init__(self, works, after, act):
        self._works, self._left, self._act = works, after, act

    def run(self, order, client, stop):
        self._left -= 1
        if self._left < 0:
            self._act()
        return self._works.run(order, client, stop)


@pytest.mark.parametrize("after", [3, 8])
def test_an_interrupted_search_asks_for_the_same_as_one_that_was_not(kit, after):
    whole = search(kit, job(kit))
    run, works = job(kit), kit.works
    kit.works = Dying(works, after, run.stop.set)
    with pytest.raises(Cancelled):
        search(kit, run)
    kit.works = works
    begun = len(kit.orders)
    again = search(kit, run.next_attempt())
    assert again["trials"] == whole["trials"]
    assert again["best"] == whole["best"]
    assert again["weights_digest"] == whole["weights_digest"]
    assert again["version"] == whole["version"] == "found@1"
    assert len(kit.orders) - begun == 9 - after


def test_a_process_that_dies_fails_its_trial_alone(kit):
    works = kit.works
    run = job(kit, register=False)
    calls = []

    class Once:
        def run(self, order, client, stop):
            calls.append(order)
            if len(calls) == 2:
                raise WorkFailed("It ran out of memory.")
            return works.run(order, client, stop)

    kit.works = Once()
    outcome = search(kit, run)
    assert [one["state"] for one in outcome["trials"]].count("failed") == 1
    assert outcome["trials"][1]["reason"] == "It ran out of memory."
