"""Jobs of kind `search`: trainings with other parameters each; the best becomes a version."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from modelry.domain.access import Principal
from modelry.domain.errors import (
    Cancelled,
    LeaseLost,
    ModelFailed,
    ModelryError,
    NotSupported,
)
from modelry.runtime_api.work import WorkOrder
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.training.handler import TrainHandler
from modelry.services.training.order import TrainingOrder
from modelry.services.training.search_order import SearchOrder, Trial, read_search
from modelry.services.training.search_space import Space, read_space
from modelry.services.training.trial_run import FinalRun, TrialClient, TrialRun
from modelry.training.contract import Recipe
from modelry.training.registry import find_recipe, read_parameters
from modelry.training.request import WORK, TrainRequest, describe, shards_of

STARTING_TRIALS = 4
"""How many are trained to the end before any is ended early."""
TRIALS_ARTEFACT = "trials.json"


@dataclass(frozen=True, slots=True)
class SearchHandler:
    """Implements `JobHandler`; trains as jobs `train` do.

    Attributes:
        training: trains, and registers the best.
    """

    training: TrainHandler

    kind: ClassVar[str] = "search"

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            InvalidInput: the space has a parameter or a value that the recipe does not take.
            NotSupported: Optuna is not installed.
            ModelryError: see `TrainHandler.check`.
        """
        order = read_search(parameters)
        pinned = self.training.check(principal, order.training)
        _optuna()
        recipe = find_recipe(str(pinned["recipe"]))
        fixed = order.training.get("parameters") or {}
        read_space(order.space, recipe, fixed)
        # what is not given stays open: the recipe's defaults are filled in for each trial
        training = {**pinned, "parameters": dict(fixed)}
        return {**order.to_wire(), "training": training}

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`.

        Raises:
            ModelFailed: no trial came to an end.
            Cancelled: it was stopped; the trials that are done are kept.
        """
        order = SearchOrder.from_wire(run.parameters)
        training = TrainingOrder.from_wire(order.training)
        recipe = find_recipe(training.recipe)
        space = read_space(order.space, recipe, training.parameters)
        trials = self._done_trials(run)
        while len(trials) < order.trials:
            if run.stop.is_set():
                raise Cancelled("The search was stopped; the trials that are done are kept.")
            trials.append(self._one_trial(run, order, training, space, trials))
            self._keep(run, trials)
            _tell(run, order, trials)
        best = _best(order, trials)
        if best is None:
            reasons = [one.reason for one in trials if one.reason]
            raise ModelFailed(
                f"None of {len(trials)} trials told '{order.metric}'. "
                f"{reasons[-1] if reasons else 'See the names of the curves in the log.'}"
            )
        outcome: dict[str, Any] = {
            "best": {"number": best.number, "value": best.value, "parameters": best.parameters},
            "metric": order.metric,
            "trials": [_told(one) for one in trials],
        }
        if not order.register:
            return outcome
        run.log(f"trains with the parameters of trial {best.number}: {best.parameters}")
        return {**outcome, **self._train_best(run, training, recipe, best)}

    def _one_trial(
        self,
        run: JobRun,
        order: SearchOrder,
        training: TrainingOrder,
        space: Space,
        trials: Sequence[Trial],
    ) -> Trial:
        asked = _ask(order, training.seed, space, trials)
        chosen = {name: axis.value(asked.params[name]) for name, axis in space.items()}
        made = Trial(len(trials), chosen, dict(asked.params))
        watched = TrialRun(run, order, made, asked if order.prune else None)
        run.log(f"trial {made.number}: {chosen}")
        try:
            self._train(watched, training, chosen)
        except Cancelled:
            if run.stop.is_set():
                raise
        except LeaseLost:
            raise
        except ModelryError as error:
            made.reason = error.message[:500]
            run.log(f"trial {made.number} failed: {made.reason}")
        made.value = _best_of(order, made.curve)
        if made.reason or made.value is None:
            made.state = "failed"
            made.reason = made.reason or _no_curve(order, watched)
        else:
            made.state = "pruned" if watched.is_pruned else "complete"
        return made

    def _train(self, watched: TrialRun, training: TrainingOrder, chosen: Mapping[str, Any]) -> None:
        handler = self.training
        recipe = find_recipe(training.recipe)
        parameters = read_parameters(recipe, {**training.parameters, **chosen})
        version = handler.datasets.find(watched.principal, training.dataset)
        recipe.check(describe(version), parameters)
        shards = shards_of(version)
        client = TrialClient(
            watched,
            handler.datasets,
            handler.catalogue.contents,
            frozenset(digest for digests in shards.values() for digest in digests),
            training.base_digests,
            is_fresh=True,
        )
        request = TrainRequest(
            training.recipe,
            parameters.model_dump(mode="json"),
            training.seed,
            describe(version),
            shards,
            training.base_names,
            handler.base_version(watched.principal, training),
        )
        limits = handler.limits_of(request.parameters)
        work = WorkOrder(WORK, request.to_wire(), limits)
        handler.works.run(work, client, watched.stop)

    def _train_best(
        self, run: JobRun, training: TrainingOrder, recipe: Recipe, best: Trial
    ) -> Json:
        parameters = read_parameters(recipe, {**training.parameters, **best.parameters})
        wire = {**training.to_wire(), "parameters": parameters.model_dump(mode="json")}
        return self.training.run(FinalRun(run, wire))

    def _done_trials(self, run: JobRun) -> list[Trial]:
        found = run.checkpoint()
        if found is None:
            return []
        contents = self.training.catalogue.contents
        with closing(contents.open(run.principal.tenant_id, found[1], "the trials")) as opened:
            trials = [Trial(**one) for one in orjson.loads(opened.path.read_bytes())]
        run.log(f"goes on after {len(trials)} trials")
        return trials

    def _keep(self, run: JobRun, trials: Sequence[Trial]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / TRIALS_ARTEFACT
            file.write_bytes(orjson.dumps([asdict(one) for one in trials]))
            kept = self.training.catalogue.contents.keep_file(run.principal.tenant_id, file)
        run.save_checkpoint(len(trials), kept.digest, kept.size_bytes)
        run.save_artefact(TRIALS_ARTEFACT, kept.digest, kept.size_bytes)


def _best_of(order: SearchOrder, curve: Sequence[float]) -> float | None:
    """The best value of a curve; None where it has none."""
    if not curve:
        return None
    return max(curve) if order.rises else min(curve)


def _best(order: SearchOrder, trials: Sequence[Trial]) -> Trial | None:
    done = [one for one in trials if one.state == "complete" and one.value is not None]
    if not done:
        return None
    sign = -1.0 if order.rises else 1.0
    return min(done, key=lambda one: (sign * (one.value or 0.0), one.number))


def _ask(order: SearchOrder, seed: int, space: Space, trials: Sequence[Trial]) -> Any:
    """The next trial of a study that knows those so far.

    Study and sampler are made anew, from seed and number: a search that was interrupted asks for
    the same as one that was not.
    """
    optuna = _optuna()
    study = optuna.create_study(
        direction=order.goal,
        sampler=optuna.samplers.TPESampler(seed=(seed * 1_000_003 + len(trials)) % 2**32),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTING_TRIALS, n_warmup_steps=1),
    )
    distributions = {name: axis.distribution(optuna) for name, axis in space.items()}
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for one in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[states[one.state]],
                value=one.value if one.state == "complete" else None,
                params=one.choices,
                distributions=distributions,
                intermediate_values=dict(enumerate(one.curve)),
            )
        )
    return study.ask(distributions)


def _told(trial: Trial) -> dict[str, Any]:
    names = ("number", "parameters", "state", "value", "reason")
    return {name: getattr(trial, name) for name in names}


def _no_curve(order: SearchOrder, watched: TrialRun) -> str:
    seen = ", ".join(sorted(watched.seen)) or "none"
    return f"There is no curve '{order.metric}'; there are: {seen}."


def _tell(run: JobRun, order: SearchOrder, trials: Sequence[Trial]) -> None:
    last, best = trials[-1], _best(order, trials)
    values = {} if last.value is None else {order.metric: last.value}
    if best is not None and best.value is not None:
        values[f"best_{order.metric}"] = best.value
    if values:
        run.metrics(len(trials), values)
    told = "none" if last.value is None else f"{last.value:.6g}"
    run.log(f"trial {last.number} {last.state}: {order.metric} {told}")
    run.progress(len(trials), order.trials, "trials", "searching")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise NotSupported(
            "Searching needs Optuna, which is not installed on this server; its operator installs "
            "the extra 'train'."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
