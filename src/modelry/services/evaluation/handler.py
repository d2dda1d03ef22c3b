"""The job that evaluates: rows from a work process, answers from the engine, a report kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from modelry.domain.access import Principal
from modelry.domain.datasets import Split
from modelry.domain.errors import InvalidInput, NotFound
from modelry.domain.evaluations import Evaluation, Measured
from modelry.runtime_api.items import decode_item
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import Answer, InputFile, WorkOrder
from modelry.scoring.scorers import scorer_for
from modelry.scoring.work import INFER, PREDICT, REPORT, Score, subject_to_wire
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.asked import check_known, columns_in, subject_of
from modelry.services.evaluation.assessing import Assessing, Subject, check_report
from modelry.services.evaluation.engines import OpenEngine
from modelry.services.evaluation.ports import Datasets
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.handoff import VERSION, VERSION_OF
from modelry.services.jobs.telling import TellsJob

KIND = "evaluate"
BATCH_ROWS = 32
MOST_BATCH_ROWS = 1024
MOST_GROUPS = 8
_KNOWN = frozenset(
    {VERSION, VERSION_OF, "dataset", "split", "slices", "groups", "favourable", "batch_rows"}
)


@dataclass(kw_only=True)
class EvaluateHandler(Assessing[Evaluation]):
    """A `JobHandler`: `{version, dataset, split?, slices?, groups?, favourable?, batch_rows?}`, or
    `version_of`, the id of a job that makes the version.
    """

    kind: ClassVar[str] = KIND

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            NotFound: no such version, dataset or split.
            InvalidInput: a parameter is wrong, or the dataset lacks what the task needs.
            NotSupported: versions of this task cannot be evaluated.
        """
        check_known(parameters, _KNOWN, "an evaluation")
        batch_rows = parameters.get("batch_rows", BATCH_ROWS)
        if type(batch_rows) is not int or not 1 <= batch_rows <= MOST_BATCH_ROWS:
            raise InvalidInput(
                f"'batch_rows' must be a whole number from 1 to {MOST_BATCH_ROWS}.",
                param="batch_rows",
            )
        apart = _told_apart(parameters)

        def suits(asked: Subject) -> None:
            scorer_for(replace(subject_of(asked.version, asked.dataset), **apart))

        return {
            **self._checked(principal, parameters, suits),
            "slices": list(apart["slices"]),
            "groups": list(apart["groups"]),
            "favourable": apart["favourable"],
            "batch_rows": batch_rows,
        }

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`."""
        told, asked = run.parameters, self._meant(run)
        version, dataset, split = asked
        subject = replace(subject_of(version, dataset), **_told_apart(told))
        order = WorkOrder(
            Score.name,
            {
                "subject": subject_to_wire(subject),
                "split": split.name,
                "shards": [one.digest for one in split.shards],
                "rows": split.rows,
                "batch_rows": told["batch_rows"],
            },
            self.limits,
        )
        run.log(f"{version.ref} is loaded to be measured on {dataset.ref}, split '{split.name}'")
        with self.engines.loaded(run.principal, version, run.stop) as engine:
            client = _ScoreClient(run, self.datasets, self.contents, engine, split)
            outcome = self.works.run(order, client, run.stop)
        evaluation = Evaluation(
            **self._common(run, asked, outcome, client.report_digest),
            evaluation_id=run.job_id,  # so that another attempt at the job adds no second one
            metrics={name: Measured.from_wire(one) for name, one in outcome["metrics"].items()},
            speed=outcome["speed"],
        )
        self.store.add(evaluation)
        return {
            "evaluation_id": evaluation.evaluation_id,
            "version": version.ref,
            "metrics": outcome["metrics"],
        }


class _ScoreClient(TellsJob):
    """The server's side of the work `score`."""

    def __init__(
        self,
        run: JobRun,
        datasets: Datasets,
        contents: Contents,
        engine: OpenEngine,
        split: Split,
    ) -> None:
        self.run = run
        self._datasets = datasets
        self._contents = contents
        self._engine = engine
        self._shards = {one.digest for one in split.shards}
        self.report_digest: str | None = None

    def open_input(self, name: str) -> InputFile:
        """A shard of the split."""
        if name not in self._shards:
            raise NotFound(f"The evaluation has no input '{name[:80]}'.")
        return self._datasets.open_shard(self.run.principal.tenant_id, name)

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """The report."""
        del about
        if name != REPORT:
            raise NotFound(f"The evaluation has no output '{name[:80]}'.")
        check_report(file)
        kept = self._contents.keep_file(self.run.principal.tenant_id, file)
        self.report_digest = kept.digest
        return {"digest": kept.digest, "size_bytes": kept.size_bytes}

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """Ask the version."""
        if what == PREDICT:
            items = [decode_item(one, body) for one in header["items"]]
            results, arrays, seconds = self._engine.predict(items, header["options"])
            entries, parts = pack_tensors(arrays)
            told = {"items": results, "arrays": entries, "seconds": seconds}
            return Answer(told, b"".join(parts))
        if what == INFER:
            outputs, seconds = self._engine.infer(unpack_tensors(header["inputs"], body))
            entries, parts = pack_tensors(outputs)
            return Answer({"arrays": entries, "seconds": seconds}, b"".join(parts))
        raise NotFound(f"The evaluation cannot be asked '{what[:80]}'.")


def _told_apart(parameters: Json) -> dict[str, Any]:
    """The fields of `Subject` that say which rows are told apart, and how.

    Raises:
        InvalidInput: they are not given as such.
    """
    slices, groups = columns_in(parameters, "slices"), columns_in(parameters, "groups")
    if len(groups) > MOST_GROUPS:
        raise InvalidInput(f"'groups' names more than {MOST_GROUPS} columns.", param="groups")
    favourable = parameters.get("favourable") or ""
    if not isinstance(favourable, str) or (favourable and not groups):
        raise InvalidInput(
            "'favourable' must be the name of a class, beside 'groups'.", param="favourable"
        )
    return {"slices": slices, "groups": groups, "favourable": favourable}
