"""Jobs of kind `explain-one`: one answer is explained, and the explanation kept with the job."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import InvalidInput, NotFound, NotSupported
from modelry.explaining.asked import Asked
from modelry.explaining.contract import LEAST_SECONDS, Wish
from modelry.explaining.course import EXPLAINING, Progress
from modelry.gradients.contract import (
    EXPLANATION,
    FILE,
    INFER,
    INPUT,
    MEASURE,
    METHODS,
    NAMES,
    WORK,
)
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import Answer, InputFile, WorkLimits, WorkOrder, Works
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.asked import check_known
from modelry.services.evaluation.assessing import check_report
from modelry.services.explanation.counting import check_explanations, count_explanation
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
_FORMAT = "onnx"
_FRAMEWORK = "torch"


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
        version = target.version
        known_as = known_as_by(target)
        order = WorkOrder(
            WORK,
            {
                "known_as": known_as,
                "task": version.task,
                "manifest": dict(version.manifest),
                "signature": version.signature.to_wire(),
                "columns": columns_of(version),
                "roles": [one.role for one in version.files],
            },
            self.limits,
            stays_for=known_as,
        )
        self.works.run(order, _Client(run, self, target, asked), run.stop)


def known_as_by(target: Target) -> str:
    """What a process knows that has explained an answer: this version of this deployment, and no
    other that had, or will have, the same names.
    """
    deployment, version = target.deployment, target.version
    told = (
        (version.tenant_id, version.ref, version.digest, version.created_at.isoformat()),
        (deployment.tenant_id, deployment.name, deployment.created_at.isoformat()),
    )
    return orjson.dumps(told).decode()


def check_gradients(principal: Principal, target: Target, method: str) -> None:
    """See that gradients of a version may be followed, as far as it can be told beforehand.

    Raises:
        NotSupported: its file is not ONNX, it belongs to another tenant, or the server has no
            library for it.
        InvalidInput: the method is not for its task.
    """
    version = target.version
    if version.tenant_id != principal.tenant_id:
        raise NotSupported(
            f"'{target.deployment.name}' belongs to another tenant: its gradients tell more of it "
            "than its answers do. Use a method that asks the engine alone.",
            param="method",
        )
    if method not in METHODS.get(version.task, ()):
        known = ", ".join(METHODS.get(version.task, ())) or "none"
        raise InvalidInput(
            f"method is '{method[:40]}'; of those by gradients the task '{version.task}' has: "
            f"{known}.",
            param="method",
        )
    if find_spec(_FRAMEWORK) is None:
        raise NotSupported(
            "Explanations by gradients need a library that this server has not; install it there: "
            "pip install 'modelry[train]'. Methods that ask the engine alone need none.",
            param="method",
        )
    found = version.manifest.get("format")
    if found != _FORMAT:
        raise NotSupported(
            f"{version.ref} is of the format '{found}'; gradients are followed through ONNX files. "
            "Use a method that asks the engine alone.",
            param="method",
        )


def columns_of(version: Version) -> list[str]:
    """The columns that a version of tables takes."""
    return [
        str(column["name"])
        for step in version.manifest.get("pre") or ()
        if step["step"] == "columns"
        for column in step["columns"]
    ]


def keep(run: JobRun, contents: Contents, target: Target, told: Mapping[str, Any]) -> Json:
    """Keep an explanation with its job; tells digest and size."""
    named = {"model": target.deployment.name, "version": target.version.number, **told}
    content = orjson.dumps(named, option=orjson.OPT_SERIALIZE_NUMPY)
    kept = contents.keep(run.principal.tenant_id, [content])
    run.save_artefact(EXPLANATION, kept.digest, kept.size_bytes)
    return {"digest": kept.digest, "size_bytes": kept.size_bytes}


class _Client(TellsJob):
    """The server's side of the work `explain-one`."""

    def __init__(
        self, run: JobRun, handler: ExplainOneHandler, target: Target, asked: Asked
    ) -> None:
        self.run = run
        self._asked = asked
        self._contents = handler.contents
        self._inference = handler.inference
        self._target = target
        self._files = {f"{FILE}{one.role}": one.digest for one in target.version.files}
        self._caller = LoopCaller(handler.loop(), run.stop)

    def open_input(self, name: str) -> InputFile:
        """A file of the version, or what is asked."""
        tenant_id = self.run.principal.tenant_id
        if name == INPUT:
            return self._contents.open(tenant_id, self.run.parameters["input"], "what is asked")
        if name not in self._files:
            raise NotFound(f"The explanation has no input '{name[:80]}'.")
        return self._contents.open(self._target.version.tenant_id, self._files[name], name)

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """The explanation."""
        del about
        if name != EXPLANATION:
            raise NotFound(f"The explanation has no output '{name[:80]}'.")
        check_report(file)
        told: Mapping[str, Any] = orjson.loads(file.read_bytes())
        return keep(self.run, self._contents, self._target, told)

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """Ask the engine that serves."""
        principal, target = self.run.principal, self._target
        if what == INFER:
            inputs = unpack_tensors(header["inputs"], body)
            found = self._caller.when_allowed(
                lambda: self._inference.infer(principal, target, inputs), _WHAT
            )
            entries, parts = pack_tensors(found.outputs)
            return Answer({"arrays": entries}, b"".join(parts))
        if what == MEASURE:
            item, options = self._asked.item, self._asked.options
            wish = self._measuring(header)
            explained = self._caller.when_allowed(
                lambda: self._inference.explain(principal, target, item, options, wish), _WHAT
            )
            told = explained.told
            calls = told["cost"]["model_calls"]
            return Answer({"faithfulness": told["faithfulness"], "model_calls": calls})
        raise NotFound(f"The explanation cannot be asked '{what[:80]}'.")

    def _measuring(self, header: Json) -> Wish:
        """The wish to have weights measured."""
        weights = tuple(float(one) for one in header["weights"])
        wish, seconds = self._asked.wish, header.get("seconds")
        return Wish(
            target=int(header["target"]),
            seed=wish.seed,
            background=wish.background,
            given=weights,
            seconds=None if seconds is None else max(LEAST_SECONDS, float(seconds)),
        )


def _word(parameters: Json, name: str) -> str:
    value: Any = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must be a text.", param=name)
    return value
