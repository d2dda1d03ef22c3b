"""Jobs of kind `explain-one`: one answer is explained, and the explanation kept with the job."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput, NotFound
from modelry.explaining.asked import Asked
from modelry.explaining.course import EXPLAINING, Progress
from modelry.gradients.contract import EXPLANATION, NAMES, WORK
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import WorkLimits, Works
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.asked import check_known
from modelry.services.explanation.counting import check_explanations, count_explanation
from modelry.services.explanation.following import Following, check_gradients, order_for
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.loop_calls import LoopCaller
from modelry.services.jobs.telling import TellsJob

KIND = WORK
LONGEST_S = 3600.0
"""How long an explanation by the engine alone may take; its deployment's own limit is shorter."""
_WHAT = "an explanation"
_CALLS = "model calls"
_KNOWN = frozenset({"deployment", "version", "method", "input"})


@dataclass(frozen=True, slots=True)
class ExplainOneHandler:
    """A `JobHandler`: `{deployment, version, method, input}`, where `input` is the digest of a
    content as `explaining.asked` writes it.

    What is asked is kept until the job has begun, for an hour at least; what was found is its
    artefact.

    Attributes:
        inference: asks the version that serves, in the name of who wants to know.
        contents: have what is asked, the version's files, and what is found.
        works: runs the work `explain-one`.
        limits: what one may use.
        loop: gives the event loop, once it runs.
    """

    inference: InferenceService
    contents: Contents
    works: Works
    limits: WorkLimits
    loop: Callable[[], Any]

    kind: ClassVar[str] = KIND

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`.

        Raises:
            NotFound: no such deployment or version, or nothing that is asked.
            NotSupported: the version cannot be explained by this method.
            InvalidInput: a parameter is wrong.
            QuotaExceeded, BudgetExceeded: the caller's limits allow no explanation now.
        """
        principal.require(Permission.INFERENCE)
        check_known(parameters, _KNOWN, "an explanation")
        target = self._target(principal, parameters)
        method = parameters.get("method")
        if not isinstance(method, str | None):
            raise InvalidInput("'method' must be a text.", param="method")
        if method in NAMES:
            check_gradients(principal, target, method)
        digest = _word(parameters, "input")
        if self.contents.size_of(principal.tenant_id, digest) is None:
            raise NotFound(f"The content {digest[:80]} is not there.", param="input")
        LoopCaller(self.loop(), StopSignal()).result(
            check_explanations(self.inference, principal), "a look at the limits"
        )
        return {
            "deployment": target.deployment.name,
            "version": target.version.number,
            "method": method,
            "input": digest,
        }

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`."""
        told = run.parameters
        target = self._target(run.principal, told)
        opened = self.contents.open(run.principal.tenant_id, told["input"], "what is asked")
        with closing(opened):
            asked = Asked.from_bytes(opened.path.read_bytes())
        if asked.wish.method in NAMES:
            check_gradients(run.principal, target, str(asked.wish.method))
            if not asked.wish.checks:  # else the worker that measures counts it
                LoopCaller(self.loop(), run.stop).result(
                    count_explanation(self.inference, run.principal, target, run.job_id),
                    "counting an explanation",
                )
            self._by_gradients(run, target, asked)
        else:
            self._by_engine(run, target, asked)
        return {"deployment": target.deployment.name, "version": target.version.ref}

    def _target(self, principal: Principal, parameters: Json) -> Target:
        number = parameters.get("version")
        if type(number) is not int:
            raise InvalidInput(
                "'version' must be the number of one that is served.", param="version"
            )
        return self.inference.target(principal, _word(parameters, "deployment"), number)

    def _by_engine(self, run: JobRun, target: Target, asked: Asked) -> None:
        far = [Progress(EXPLAINING, 0, None)]  # told by the event loop, which must not wait

        def tell() -> None:
            run.progress(far[0].calls, far[0].most_calls, _CALLS, far[0].phase)

        tell()
        explained = LoopCaller(self.loop(), run.stop).result(
            self.inference.explain(
                run.principal,
                target,
                asked.item,
                asked.options,
                asked.wish,
                on_progress=lambda one: far.__setitem__(0, one),
            ),
            _WHAT,
            timeout_s=LONGEST_S,
            meanwhile=tell,
        )
        picture = base64.b64encode(explained.picture).decode() if explained.picture else None
        keep(run, self.contents, target, {**explained.told, "picture": picture,
                                          "usage": explained.usage})  # fmt: skip
        calls = explained.usage["model_calls"]
        run.progress(calls, calls, _CALLS, "done")

    def _by_gradients(self, run: JobRun, target: Target, asked: Asked) -> None:
        client = _Client(run, self, target, asked)
        found = self.works.run(order_for(target, self.limits), client, run.stop)
        keep(run, self.contents, target, found)


def keep(run: JobRun, contents: Contents, target: Target, told: Mapping[str, Any]) -> None:
    """Keep an explanation with its job."""
    named = {"model": target.deployment.name, "version": target.version.number, **told}
    content = orjson.dumps(named, option=orjson.OPT_SERIALIZE_NUMPY)
    kept = contents.keep(run.principal.tenant_id, [content])
    run.save_artefact(EXPLANATION, kept.digest, kept.size_bytes)


class _Client(TellsJob, Following):
    """The server's side of the work, for a job."""

    def __init__(
        self, run: JobRun, handler: ExplainOneHandler, target: Target, asked: Asked
    ) -> None:
        super().__init__(
            run.principal,
            target,
            asked,
            inference=handler.inference,
            contents=handler.contents,
            caller=LoopCaller(handler.loop(), run.stop),
        )
        self.run = run


def _word(parameters: Json, name: str) -> str:
    value: Any = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must be a text.", param=name)
    return value
