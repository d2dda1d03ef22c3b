"""Recipes, training, and where trained versions come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send_json
from modelry.client.job_records import JobRecord, KnownById, ids_of
from modelry.client.operations.paths import api
from modelry.client.training_records import Lineage, Recipe


def list_recipes() -> Flow[list[Recipe]]:
    """The ways to train that the server has, with their parameters."""
    body = yield from send_json(Request("GET", api("recipes"), idempotent=True))
    return decode_list(Recipe, body, "recipes")


def start_training(
    recipe: str,
    dataset: str,
    model: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    base: str | None = None,
    base_files: Mapping[str, Mapping[str, str]] | None = None,
    threads: int | None = None,
    job_name: str = "",
    priority: int = 0,
    after: Sequence[str | KnownById] = (),
    not_before: datetime | None = None,
    retries: int | None = None,
) -> Flow[JobRecord]:
    """Queue a job that trains a model; a version comes of it: `job.version`.

    Args:
        recipe: the name of a recipe, such as `image-classification`.
        dataset: a dataset's name (its newest version), or `name@3`.
        model: the name of the model that gets the version; made if it is not there.
        parameters: of the recipe; what is left out has its default.
        seed: all randomness follows from it.
        base: a version to train further, such as `name@3`.
        base_files: uploaded files to begin from: `{"digest", "name"}` by role.
        threads: how many compute; by default the server's choice.
        job_name: of the job, for people.
        priority: -100 to 100; the highest goes first.
        after: jobs that must succeed before, or their ids.
        not_before: when it may begin, with a time zone.
        retries: how many failures in a row are tried again.

    Raises:
        InvalidInput: recipe, parameters and data do not suit each other; says what is the matter.
        NotFound: dataset or base are not there.
        Conflict: the model has a task that the recipe does not train for.
    """
    order = training_order(
        recipe,
        dataset,
        model,
        parameters=parameters,
        seed=seed,
        base=base,
        base_files=base_files,
        threads=threads,
    )
    body = {**order, "retries": retries, **_queueing(job_name, priority, after, not_before)}
    request = Request("POST", api("training"), json=_said(body))
    return decode(JobRecord, (yield from send_json(request)))


def training_order(
    recipe: str,
    dataset: str,
    model: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    base: str | None = None,
    base_files: Mapping[str, Mapping[str, str]] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """The parameters of a job `train`; see `start_training`."""
    return _said(
        {
            "recipe": recipe,
            "dataset": dataset,
            "model": model,
            "parameters": dict(parameters or {}),
            "seed": seed,
            "base": base,
            "base_files": (
                None if base_files is None else {r: dict(f) for r, f in base_files.items()}
            ),
            "threads": threads,
        }
    )


def start_search(
    recipe: str,
    dataset: str,
    model: str,
    *,
    space: Mapping[str, Any],
    metric: str,
    trials: int = 20,
    goal: str | None = None,
    prune: bool = True,
    register: bool = True,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    base: str | None = None,
    base_files: Mapping[str, Mapping[str, str]] | None = None,
    threads: int | None = None,
    job_name: str = "",
    priority: int = 0,
    after: Sequence[str | KnownById] = (),
    not_before: datetime | None = None,
    retries: int | None = None,
) -> Flow[JobRecord]:
    """Queue a job that searches for better parameters of a recipe; the best one's version comes of
    it: `job.version`. Its outcome tells all trials.

    Args:
        recipe: the name of a recipe, such as `image-classification`.
        dataset: a dataset's name (its newest version), or `name@3`.
        model: the name of the model that gets the version; made if it is not there.
        space: what to try, by parameter: a list of choices, or `{"low": 1e-4, "high": 0.1}`, with
            `"log": True` to look as closely at small values, or `"step"`.
        metric: the curve that tells how good a trial is, such as `validation_accuracy`.
        trials: how many trainings at most.
        goal: `maximize` or `minimize`; by default what the name of the metric suggests.
        prune: end trials early that do worse than half of the others did.
        register: train once more with the best parameters, and register that.
        parameters: of the recipe, those that are not tried; what is left out has its default.
        seed: all randomness follows from it.
        base: a version to train further, such as `name@3`.
        base_files: uploaded files to begin from: `{"digest", "name"}` by role.
        threads: how many compute; by default the server's choice.
        job_name: of the job, for people.
        priority: -100 to 100; the highest goes first.
        after: jobs that must succeed before, or their ids.
        not_before: when it may begin, with a time zone.
        retries: how many failures in a row are tried again.

    Raises:
        InvalidInput: the space has a parameter or a value that the recipe does not take.
        NotSupported: the server has no Optuna (extra `train`).
    """
    training = training_order(
        recipe,
        dataset,
        model,
        parameters=parameters,
        seed=seed,
        base=base,
        base_files=base_files,
        threads=threads,
    )
    body = {
        **search_order(training, space, metric, trials, goal=goal, prune=prune, register=register),
        "retries": retries,
        **_queueing(job_name, priority, after, not_before),
    }
    request = Request("POST", api("searches"), json=_said(body))
    return decode(JobRecord, (yield from send_json(request)))


def search_order(
    training: Mapping[str, Any],
    space: Mapping[str, Any],
    metric: str,
    trials: int,
    *,
    goal: str | None = None,
    prune: bool = True,
    register: bool = True,
) -> dict[str, Any]:
    """The parameters of a job `search`; see `start_search`."""
    return _said(
        {
            "training": dict(training),
            "space": dict(space),
            "metric": metric,
            "trials": trials,
            "goal": goal,
            "prune": prune,
            "register": register,
        }
    )


def get_lineage(model: str, version: int) -> Flow[Lineage]:
    """Where a version comes from: job, recipe, parameters, data, code, libraries, machine.

    Raises:
        NotFound: there is no such version, or it was not trained here.
    """
    path = api("models", model, "versions", version, "lineage")
    return decode(Lineage, (yield from send_json(Request("GET", path, idempotent=True))))


def reproduce_version(
    model: str, version: int, *, job_name: str = "", priority: int = 0
) -> Flow[JobRecord]:
    """Queue a job that trains a version again and tells, as its outcome, whether the same came.

    Args:
        model: the model.
        version: the number of its version.
        job_name: of the job, for people.
        priority: -100 to 100; the highest goes first.

    Raises:
        NotFound: the version, its lineage, or the data that it was trained on are not there.
    """
    path = api("models", model, "versions", version, "reproduce")
    body = _said(_queueing(job_name, priority, (), None))
    return decode(JobRecord, (yield from send_json(Request("POST", path, json=body))))


def _queueing(
    job_name: str,
    priority: int,
    after: Sequence[str | KnownById],
    not_before: datetime | None,
) -> dict[str, Any]:
    return {
        "job_name": job_name,
        "priority": priority,
        "after": ids_of(after),
        "not_before": None if not_before is None else not_before.isoformat(),
    }


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
