"""Fine-tuning jobs: what is refused before, what comes of them, and that it comes once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.fine_tuning import FineTuningKit, TunedRecipe, offer_tuned_recipe, rows

from modelry.domain.access import DEFAULT_TENANT_ID, Permission
from modelry.domain.datasets import DatasetVersion
from modelry.domain.errors import (
    Cancelled,
    InvalidInput,
    LeaseLost,
    ModelryError,
    NotFound,
    PermissionDenied,
    RowsInvalid,
    UnsupportedField,
)
from modelry.domain.files import FilePurpose
from modelry.domain.jobs import Job
from modelry.services.files.service import NewFile
from modelry.services.finetuning import choices
from modelry.services.finetuning.choices import Choice
from modelry.services.finetuning.needed import needing_dataset, needing_file
from modelry.services.finetuning.order import FineTuningOrder
from modelry.services.jobs.curves import MetricPoint
from modelry.testing.samples import NOW, principal

ME = principal()


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FineTuningKit:
    offer_tuned_recipe(monkeypatch)
    return FineTuningKit(tmp_path)


def test_names_are_pinned_and_hyperparameters_have_a_meaning(kit: FineTuningKit) -> None:
    run = kit.job(n_epochs=5, learning_rate_multiplier=0.5, parameters={"steps": 7}, seed=3)
    order = FineTuningOrder.from_wire(run.parameters)
    assert (order.base, order.task, order.recipe) == ("base@1", "tensor", "steady")
    assert (order.training["epochs"], order.training["steps"]) == (5, 7)
    assert order.training["learning_rate"] == pytest.approx(0.025)
    assert order.training["batch_size"] == 8
    assert order.engine_options == {"threads": 1}
    assert FineTuningOrder.from_wire(order.to_wire()) == order


def test_a_model_comes_of_files(kit: FineTuningKit) -> None:
    kit.curves = [MetricPoint(0, {"loss": 2.0}), MetricPoint(1, {"validation_loss": 1.5})]
    validation = kit.send(rows(8, first=100))
    run = kit.job(suffix="Mine", validation_file=validation, seed=5)
    outcome = kit.handler.run(run)
    assert outcome["version"] == "ft-base-mine-0123456789ab@1"
    assert outcome["deployed"]
    assert kit.serving.served == [("ft-base-mine-0123456789ab@1", {"threads": 1})]
    file_id = run.parameters["training_file"]
    data = kit.datasets.find(ME, outcome["dataset"])
    assert data.dataset_name == file_id
    assert {one.name: one.rows for one in data.splits} == {"train": 32, "validation": 8}
    lineage = kit.database.lineages.find(DEFAULT_TENANT_ID, outcome["model"], 1)
    assert lineage is not None
    assert (lineage.base, lineage.dataset, lineage.seed) == ("base@1", data.ref, 5)
    assert lineage.job_id == run.job_id
    (results,) = outcome["result_files"]
    assert kit.files.get(ME, results).purpose is FilePurpose.FINE_TUNE_RESULTS
    assert kit.lines(results) == ["step,train_loss,full_valid_loss", "0,2.0,", "1,,1.5"]
    phases = [phase for *_, phase in run.told]
    assert phases[0] == "validating files"
    assert any(one.startswith("validating files: ") for one in phases)
    assert "training" in phases


def test_the_same_files_are_imported_once(kit: FineTuningKit) -> None:
    run = kit.job()
    first = kit.handler.run(run)
    again = kit.job("job-2", training_file=run.parameters["training_file"])
    second = kit.handler.run(again)
    assert first["dataset"] == second["dataset"]
    assert first["model"] != second["model"]
    assert kit.asked == ["import-dataset", "train", "train"]
    other = kit.job("job-3", training_file=run.parameters["training_file"],
                    validation_file=kit.send(rows(8, first=50)))  # fmt: skip
    assert kit.handler.run(other)["dataset"] != first["dataset"]


def test_another_attempt_comes_to_the_same_without_doing_it_again(kit: FineTuningKit) -> None:
    run = kit.job(seed=1)
    kit.serving.serve = _die  # type: ignore[method-assign] # the server ends just then
    with pytest.raises(LeaseLost):
        kit.handler.run(run)
    del kit.serving.serve  # type: ignore[method-assign]
    kit.asked.clear()
    outcome = kit.handler.run(run.next_attempt())
    assert kit.asked == []
    assert outcome["version"] == "ft-base-0123456789ab@1"
    assert len(kit.catalog.list_versions(ME, outcome["model"])) == 1


def _die(*_: Any, **__: Any) -> None:
    raise LeaseLost("gone")


def test_the_base_s_own_parameters_are_kept_where_nothing_else_is_asked(
    kit: FineTuningKit,
) -> None:
    first = kit.handler.run(kit.job(parameters={"steps": 6, "checkpoint_every": 3}, n_epochs=9))
    again = kit.job("job-2", model=first["model"], parameters={"checkpoint_every": 2})
    order = FineTuningOrder.from_wire(again.parameters)
    assert (order.training["steps"], order.training["checkpoint_every"]) == (6, 2)
    assert order.training["epochs"] == 2, "how long it was trained says nothing of this time"


@pytest.mark.parametrize(
    ("wanted", "error", "param", "said"),
    [
        ({"model": "none"}, NotFound, None, "none"),
        ({"model": ""}, InvalidInput, "model", "expected a text"),
        ({"training_file": "file-none"}, InvalidInput, "training_file", "no file 'file-none'"),
        ({"validation_file": "file-none"}, InvalidInput, "validation_file", "no file"),
        ({"suffix": "x" * 41}, InvalidInput, "suffix", "up to 40"),
        ({"n_epochs": 51}, InvalidInput, "method.supervised.hyperparameters.n_epochs", "51"),
        ({"parameters": {"epochz": 1}}, InvalidInput, "parameters.epochz", "no parameter"),
        ({"parameters": {"epochs": 1}, "n_epochs": 1}, InvalidInput,
         "method.supervised.hyperparameters.n_epochs", "say the same"),
        ({"colour": "red"}, UnsupportedField, "colour", "'colour' is not known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before(
    kit: FineTuningKit, wanted: dict[str, Any], error: type[ModelryError], param: str, said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        kit.job(**wanted)
    if param is not None:
        assert caught.value.param == param


def test_bases_that_cannot_be_trained_further(
    kit: FineTuningKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(choices.CHOICES, "tensor")
    with pytest.raises(InvalidInput, match="task 'tensor'; models of the tasks chat"):
        kit.job()
    monkeypatch.setitem(choices.CHOICES, "tensor", Choice("gone", "jsonl"))
    with pytest.raises(ModelryError, match="recipe 'gone', which this server does not have"):
        kit.job()


class Choosy(TunedRecipe):
    def check_base(self, base: Any, files: Any, parameters: Any) -> None:
        if parameters.steps > 5:
            raise InvalidInput(f"{base.ref} with {sorted(files)} is too small.", param="base")


def test_a_recipe_is_asked_whether_it_can_begin_from_the_base(
    kit: FineTuningKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "recipes", lambda: {"steady": Choosy()})
    kit.job(parameters={"steps": 5})
    with pytest.raises(InvalidInput, match=r"base@1 with \['model'\] is too small") as caught:
        kit.job(parameters={"steps": 6})
    assert caught.value.param == "model"


def test_hyperparameters_that_a_recipe_does_not_look_at(
    kit: FineTuningKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = Choice("steady", "jsonl", without_effect={"batch_size": "parameters.tokens"})
    monkeypatch.setitem(choices.CHOICES, "tensor", choice)
    with pytest.raises(UnsupportedField, match=r"give 'parameters.tokens' instead"):
        kit.job(batch_size=4)


def test_files_of_another_purpose_and_twice_the_same(kit: FineTuningKit) -> None:
    content = kit.files.receive(ME, [b"a"])
    made = kit.files.add(ME, content, NewFile("r.csv", FilePurpose.FINE_TUNE_RESULTS))
    with pytest.raises(InvalidInput, match="purpose 'fine-tune-results'"):
        kit.job(training_file=made.file_id)
    with pytest.raises(InvalidInput, match="same content") as caught:
        kit.job(validation_file=kit.send(rows(), "again.jsonl"))
    assert caught.value.param == "validation_file"


@pytest.mark.parametrize(
    "lacking",
    [
        Permission.DATASETS_WRITE,
        Permission.DATASETS_READ,
        Permission.MODELS_WRITE,
        Permission.MODELS_READ,
        Permission.JOBS_READ,
    ],
)
def test_rights_are_needed(kit: FineTuningKit, lacking: Permission) -> None:
    given = {"model": "base", "training_file": kit.send(rows())}
    caller = replace(ME, permissions=ME.permissions - {lacking})
    with pytest.raises(PermissionDenied, match=lacking):
        kit.handler.check(caller, given)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (rows(3) + b'\n{"a": ', RowsInvalid, "training_file, line 4"),
        (b'{"a": 1}\n{"a": 2}', InvalidInput, "'y'"),
        (b"\n", InvalidInput, "training_file"),
    ],
)
def test_rows_that_cannot_be_used_are_named_by_file_and_line(
    kit: FineTuningKit, content: bytes, error: type[ModelryError], said: str
) -> None:
    run = kit.job(training_file=kit.send(content))
    with pytest.raises(error, match=said):
        kit.handler.run(run)
    assert run.told[-1][3].startswith("validating files")


def test_a_version_that_cannot_be_deployed_is_kept(kit: FineTuningKit) -> None:
    kit.serving.is_refusing = True
    run = kit.job()
    outcome = kit.handler.run(run)
    assert not outcome["deployed"]
    assert any("Not deployed: The name is taken. Deploy version 1" in one for one in run.lines)
    rights = ME.permissions - {Permission.DEPLOYMENTS_WRITE}
    other = kit.job("job-2")
    other.principal = replace(ME, permissions=rights)
    assert not kit.handler.run(other)["deployed"]


def test_a_stop_ends_it(kit: FineTuningKit) -> None:
    run = kit.job()
    run.stop.set()
    with pytest.raises(Cancelled):
        kit.handler.run(run)


def test_what_jobs_need_is_told(kit: FineTuningKit) -> None:
    run = kit.job()
    job = Job(DEFAULT_TENANT_ID, run.job_id, "fine-tune", run.parameters, NOW, "k1")
    other = replace(job, kind="train", parameters={})
    file_id = run.parameters["training_file"]
    assert needing_file(file_id, [other, job]) == ["the fine-tuning job ftjob-0123456789ab"]
    assert needing_file("file-other", [job]) == []
    kit.handler.run(run)
    version: DatasetVersion = kit.datasets.find(ME, file_id)
    assert needing_dataset(version, [other, job]) == ["the job job-0123456789ab (fine-tune)"]
    assert needing_dataset(replace(version, dataset_name="x"), [job]) == []
