"""Jobs that train: what is refused before, what comes of them, and that it comes once."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from tests.support.training_kit import LINE, TrainingKit, line_rows
from tests.support.works.steady_recipe import SteadyRecipe

from modelry.domain.access import DEFAULT_TENANT_ID, Permission
from modelry.domain.catalog import Model
from modelry.domain.errors import (
    Cancelled,
    Conflict,
    InvalidInput,
    LeaseLost,
    ModelFailed,
    ModelryError,
    NotFound,
    PermissionDenied,
    TrainingDiverged,
    UnsupportedField,
    WorkFailed,
)
from modelry.testing.samples import NOW, principal
from modelry.training import registry

ME = principal()


@pytest.fixture
def kit(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "recipes", lambda: {"steady": SteadyRecipe()})
    kit = TrainingKit(tmp_path)
    kit.datasets.add("line", LINE, {"train": line_rows()})
    return kit


def test_names_are_pinned_and_defaults_filled_in(kit):
    told = kit.check(parameters={"steps": 3})
    assert told["dataset"] == "line@1"
    assert told["dataset_digest"] == kit.datasets.versions["line"].digest
    assert told["parameters"]["steps"] == 3
    assert told["parameters"]["checkpoint_every"] == 5
    assert told["threads"] == 2
    assert kit.check(threads=1)["threads"] == 1


@pytest.mark.parametrize(
    ("order", "error", "said"),
    [
        ({"recipe": "other"}, InvalidInput, "no recipe 'other'; there are: steady"),
        ({"recipe": 3}, InvalidInput, "'recipe' is '3'"),
        ({"dataset": "none"}, NotFound, "'none' does not exist"),
        ({"dataset": ""}, InvalidInput, "'dataset'"),
        ({"model": "Not Allowed"}, InvalidInput, "lower-case"),
        ({"model": "taken"}, Conflict, "has the task 'chat'"),
        ({"parameters": {"stepz": 3}}, InvalidInput, "no parameter 'stepz'; it has: steps"),
        ({"parameters": {"steps": 0}}, InvalidInput, "Parameter 'steps' .* greater than"),
        ({"parameters": {"steps": "many"}}, InvalidInput, r"\(given: many\)"),
        ({"parameters": [1]}, InvalidInput, "expected an object"),
        ({"seed": -1}, InvalidInput, "'seed' is '-1'"),
        ({"seed": True}, InvalidInput, "'seed'"),
        ({"threads": 0}, InvalidInput, "'threads'"),
        ({"base": "none@1"}, NotFound, "none"),
        ({"base_files": {"weights": "x"}}, InvalidInput, "object with the 'digest'"),
        ({"base_files": {"w": {"digest": "sha256:" + "0" * 64}}}, NotFound, "upload it first"),
        ({"base_files": {"w": {"digest": "x", "name": "../x"}}}, InvalidInput, "without folders"),
        ({"reproduces": "none@1"}, NotFound, "none"),
        ({"epochs": 3}, UnsupportedField, "'epochs' is not known"),
    ],
)
def test_what_cannot_be_done_is_refused_before(kit, order, error, said):
    taken = Model(DEFAULT_TENANT_ID, "taken", "chat", NOW)
    kit.database.catalog.write(DEFAULT_TENANT_ID, lambda records: records.models.add(taken))
    with pytest.raises(error, match=said):
        kit.check(**order)


def test_data_that_does_not_suit_is_refused_before(kit):
    kit.datasets.add("bare", replace(LINE, columns=LINE.columns[:2]), {"train": line_rows()})
    with pytest.raises(InvalidInput, match="has no label"):
        kit.check(dataset="bare")


@pytest.mark.parametrize("lacking", [Permission.MODELS_WRITE, Permission.DATASETS_READ])
def test_rights_are_needed(kit, lacking):
    caller = replace(ME, permissions=ME.permissions - {lacking})
    given = {"recipe": "steady", "dataset": "line", "model": "fitted"}
    with pytest.raises(PermissionDenied):
        kit.handler.check(caller, given)


def test_a_version_and_its_lineage_come_of_it(kit):
    run = kit.job(seed=5)
    outcome = kit.handler.run(run)
    assert outcome["version"] == "fitted@1"
    version = kit.catalog.get_version(ME, "fitted", 1)
    assert version.source == "job:job-1"
    assert [one.name for one in version.files] == ["model.onnx"]
    lineage = kit.database.lineages.find(DEFAULT_TENANT_ID, "fitted", 1)
    assert (lineage.recipe, lineage.seed, lineage.dataset) == ("steady", 5, "line@1")
    assert lineage.parameters["steps"] == 20
    assert lineage.weights_digest == outcome["weights_digest"]
    assert lineage.environment["libraries"]["numpy"] == np.__version__
    assert lineage.environment["code"]["digest"].startswith("sha256:")
    assert len(run.curves) == 20
    assert run.curves[19]["loss"] < run.curves[0]["loss"] / 10
    assert "training" in {phase for *_, phase in run.told}
    assert kit.content(run.artefacts["notes.txt"][0]) == b"kept"
    assert set(run.artefacts) == {"notes.txt", "version-model.onnx"}


class ReusingWorks:
    """Hands over what the recipe does, as a version that has a file of its base as well."""

    def __init__(self, works) -> None:
        self._works = works

    def run(self, order, client, stop):
        assert order.request["base_version"]["ref"] == "fitted@1"
        assert order.request["base_version"]["manifest"]["task"] == "tensor"
        made = self._works.run(order, client, stop)
        files = {**made["manifest"]["files"], "first": "first.onnx"}
        return {
            **made,
            "manifest": {**made["manifest"], "files": files},
            "reused": {"first": "model"},
        }


def test_a_version_may_have_files_of_its_base(kit):
    kit.handler.run(kit.job(seed=1))
    kit.works = ReusingWorks(kit.works)
    run = kit.job(seed=2, base="fitted@1")
    assert kit.handler.run(run)["version"] == "fitted@2"
    first, second = (kit.catalog.get_version(ME, "fitted", number) for number in (1, 2))
    digests = {one.role: one.digest for one in second.files}
    assert digests["first"] == first.files[0].digest != digests["model"]
    assert {one.name for one in second.files} == {"first.onnx", "model.onnx"}
    assert "version-first.onnx" not in run.artefacts, "it was there before"
    kit.works = None
    assert kit.handler.run(run)["version"] == "fitted@2", "its result was kept"


def test_the_same_seed_gives_the_same_weights_and_another_others(kit):
    first, again, other = (kit.handler.run(kit.job(seed=seed)) for seed in (1, 1, 2))
    assert first["weights_digest"] == again["weights_digest"] != other["weights_digest"]
    assert first["version"] == again["version"] == "fitted@1"
    assert other["version"] == "fitted@2"


class DyingWorks:
    """Ends the work after so many metrics, as if its process had died."""

    def __init__(self, works, after: int) -> None:
        self._works = works
        self._left = after

    def run(self, order, client, stop):
        metrics = client.metrics

        def counted(step, values):
            self._left -= 1
            if self._left < 0:
                raise WorkFailed("killed")
            metrics(step, values)

        client.metrics = counted
        return self._works.run(order, client, stop)


@pytest.mark.parametrize("after", [0, 1, 5, 7, 19])
def test_another_attempt_goes_on_and_comes_to_the_same(kit, after):
    undisturbed = kit.handler.run(kit.job(seed=3))
    works, kit.works = kit.works, DyingWorks(kit.works, after)
    run = kit.job(seed=3)
    with pytest.raises(WorkFailed):
        kit.handler.run(run)
    kit.works = works
    again = run.next_attempt()
    outcome = kit.handler.run(again)
    assert outcome == undisturbed
    steps_lost = after - max((step for step, *_ in run.checkpoints), default=0)
    assert steps_lost <= 5
    if after > 5:
        assert any("Goes on from the checkpoint of step" in line for line in again.lines)


def test_nothing_is_trained_again_once_it_was(kit):
    """The server dies between the last step and the registration."""
    run = kit.job()
    real, kit.catalog.register = kit.catalog.register, _die
    with pytest.raises(LeaseLost):
        kit.handler.run(run)
    kit.catalog.register = real
    kit.orders.clear()
    outcome = kit.handler.run(run.next_attempt())
    assert outcome["version"] == "fitted@1"
    assert kit.orders == []
    kit.handler.run(run.next_attempt())
    assert len(kit.catalog.list_versions(ME, "fitted")) == 1


def _die(*_args, **_options):
    raise LeaseLost("gone")


def test_a_model_that_answers_otherwise_is_not_registered(kit):
    run = kit.job(parameters={"parity_error": 0.5})
    with pytest.raises(ModelFailed, match=r"differ by up to 0\.5, and 0\.0001 are allowed"):
        kit.handler.run(run)
    with pytest.raises(NotFound):
        kit.catalog.get_model(ME, "fitted")
    assert "version-model.onnx" in run.artefacts


def test_errors_of_the_recipe_are_told(kit):
    with pytest.raises(TrainingDiverged, match="step 7"):
        kit.handler.run(kit.job(parameters={"diverge_at": 7}))


def test_a_stop_leaves_a_checkpoint(kit):
    run = kit.job(parameters={"checkpoint_every": 1000})
    told = run.metrics

    def stop_at_ten(step, values):
        told(step, values)
        if step == 10:
            run.stop.set()

    run.metrics = stop_at_ten
    with pytest.raises(Cancelled):
        kit.handler.run(run)
    assert [step for step, *_ in run.checkpoints] == [11]


def test_a_lost_checkpoint_begins_anew_and_says_so(kit):
    undisturbed = kit.handler.run(kit.job())
    run = kit.job()
    run = type(run)(run.parameters, checkpoint=(5, "sha256:" + "0" * 64))
    assert kit.handler.run(run) == undisturbed
    assert any("the run begins anew" in line for line in run.lines)


def test_a_lost_lease_ends_it_at_once(kit):
    run = kit.job()
    run.is_lease_lost = True
    with pytest.raises(LeaseLost):
        kit.handler.run(run)


def test_a_dataset_that_went_or_changed_is_told(kit):
    run = kit.job()
    version = kit.datasets.versions.pop("line@1")
    with pytest.raises(NotFound):
        kit.handler.run(run)
    kit.datasets.versions["line@1"] = replace(version, digest="sha256:" + "1" * 64)
    with pytest.raises(Conflict, match="is not what it was"):
        kit.handler.run(run)


def test_work_sees_no_content_but_its_own(kit):
    secret = kit.catalog.contents.keep(DEFAULT_TENANT_ID, [b"secret"]).digest

    class Curious:
        def run(self, order, client, stop):
            for name in (secret, f"base/{secret}", "base/", "", "checkpoint"):
                with pytest.raises(NotFound):
                    client.open_input(name)
            with pytest.raises(ModelryError):
                client.answer("predict", {}, b"")
            raise Cancelled("seen")

    kit.works = Curious()
    with pytest.raises(Cancelled):
        kit.handler.run(kit.job())


def test_uploaded_files_are_what_it_begins_from(kit):
    weights = io.BytesIO()
    np.save(weights, np.array([2.0, -1.0, 1.0]))
    digest = kit.catalog.contents.keep(DEFAULT_TENANT_ID, [weights.getvalue()]).digest
    run = kit.job(base_files={"weights": {"digest": digest, "name": "weights.npy"}})
    kit.handler.run(run)
    assert run.curves[0]["loss"] < 0.01
    assert run.artefacts["base-weights.npy"][0] == digest


def test_a_version_is_trained_further(kit):
    kit.handler.run(kit.job())
    told = kit.check(base="fitted")
    assert told["base"] == "fitted@1"
    assert told["base_files"]["model"]["name"] == "model.onnx"
    kit.handler.run(kit.job(base="fitted", seed=9))
    assert kit.database.lineages.find(DEFAULT_TENANT_ID, "fitted", 2).base == "fitted@1"


def test_a_run_that_is_done_again_is_compared_and_registers_nothing(kit):
    kit.handler.run(kit.job(seed=4))
    outcome = kit.handler.run(kit.job(seed=4, reproduces="fitted@1"))
    assert outcome["has_same_weights"] is True
    assert outcome["changed"] == {}
    assert outcome["metrics_compared"]["loss"]["first"] == outcome["metrics"]["loss"]
    other = kit.handler.run(kit.job(seed=5, reproduces="fitted@1"))
    assert other["has_same_weights"] is False
    assert len(kit.catalog.list_versions(ME, "fitted")) == 1


class Further(SteadyRecipe):
    """A recipe that says what it begins from, and notes what it was given."""

    name = "further"

    def __init__(self):
        self.given = []

    def check_base(self, base, files, parameters):
        del parameters
        if base is None:
            raise InvalidInput("A base is needed.", param="base")
        self.given.append((base.ref, sorted(files)))

    def train(self, data, parameters, run):
        self.given.append((run.base_version.ref, run.base_version.manifest["task"]))
        assert run.base["model"].read_bytes()
        return super().train(data, parameters, run)


def test_a_recipe_is_told_of_the_version_that_it_begins_from(kit, monkeypatch):
    recipe = Further()
    monkeypatch.setattr(registry, "recipes", lambda: {"steady": SteadyRecipe(), "further": recipe})
    kit.handler.run(kit.job())
    with pytest.raises(InvalidInput, match="A base is needed"):
        kit.check(recipe="further")
    run = kit.job(recipe="further", base="fitted", model="more")
    assert run.parameters["base"] == "fitted@1"
    assert kit.handler.run(run)["version"] == "more@1"
    assert recipe.given == [("fitted@1", ["model"]), ("fitted@1", "tensor")]
    lineage = kit.database.lineages.find(DEFAULT_TENANT_ID, "more", 1)
    assert lineage.base == "fitted@1"


class Placed(SteadyRecipe):
    """A recipe that can compute on a GPU."""

    class parameters(SteadyRecipe.parameters):  # noqa: N801 - the contract's word
        device: str = "auto"


@pytest.mark.parametrize(
    ("device", "allowed", "reached"),
    [("auto", True, True), ("cuda", True, True), ("cpu", True, False), ("auto", False, False)],
)
def test_a_gpu_is_in_reach_of_runs_that_may_take_one(kit, monkeypatch, device, allowed, reached):
    monkeypatch.setattr(registry, "recipes", lambda: {"steady": Placed()})
    kit.handler = replace(kit.handler, limits=replace(kit.handler.limits, gpu=allowed))
    kit.handler.run(kit.job(parameters={"device": device}))
    assert kit.orders[-1].limits.gpu is reached


def test_a_recipe_that_never_takes_a_gpu_has_none_in_reach(kit):
    kit.handler = replace(kit.handler, limits=replace(kit.handler.limits, gpu=True))
    kit.handler.run(kit.job())
    assert kit.orders[-1].limits.gpu is False
