"""What the work `explain-one` asks of the server; answered in the name of who wants to know."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import orjson

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import InvalidInput, NotFound, NotSupported
from modelry.explaining.asked import Asked
from modelry.explaining.contract import LEAST_SECONDS, Wish
from modelry.gradients.contract import ASKED, FILE, INFER, MEASURE, METHODS, WORK
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import Answer, InputFile, Json, WorkLimits, WorkOrder
from modelry.services.catalog.contents import Contents
from modelry.services.inference.explanations import OnProgress
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService
from modelry.services.jobs.loop_calls import LoopCaller

_WHAT = "an explanation"
_FORMAT = "onnx"
_FRAMEWORK = "torch"


def order_for(target: Target, limits: WorkLimits) -> WorkOrder:
    """Have answers of a version explained, in a process that stays for more of them."""
    version, known_as = target.version, known_as_by(target)
    request = {
        "known_as": known_as,
        "task": version.task,
        "manifest": dict(version.manifest),
        "signature": version.signature.to_wire(),
        "columns": columns_of(version),
        "roles": [one.role for one in version.files],
    }
    # steps are short, and several processes may calculate on the same cores
    limits = replace(limits, threads_sleep=True)
    return WorkOrder(WORK, request, limits, stays_for=known_as)


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
    if not _is_installed(_FRAMEWORK):
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


@lru_cache(maxsize=1)
def _is_installed(library: str) -> bool:
    """As of the first question: to look for it takes longer than all else that is looked at."""
    return find_spec(library) is not None


def columns_of(version: Version) -> list[str]:
    """The columns that a version of tables takes."""
    return [
        str(column["name"])
        for step in version.manifest.get("pre") or ()
        if step["step"] == "columns"
        for column in step["columns"]
    ]


class Following:
    """The server's side of the work, but for what the work tells of itself.

    Args:
        principal: who wants to know.
        target: the version that is explained.
        asked: what of it.
        inference: asks the version that serves.
        contents: have its files.
        caller: asks in the event loop.
        on_progress: is told how far the check is; runs on the event loop.
    """

    def __init__(
        self,
        principal: Principal,
        target: Target,
        asked: Asked,
        *,
        inference: InferenceService,
        contents: Contents,
        caller: LoopCaller,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._principal = principal
        self._target = target
        self._asked = asked
        self._inference = inference
        self._contents = contents
        self._caller = caller
        self._on_progress = on_progress
        self._files = {f"{FILE}{one.role}": one.digest for one in target.version.files}

    def open_input(self, name: str) -> InputFile:
        """A file of the version."""
        if name not in self._files:
            raise NotFound(f"The explanation has no input '{name[:80]}'.")
        return self._contents.open(self._target.version.tenant_id, self._files[name], name)

    def take_output(self, name: str, file: Path, about: Json) -> Json:
        """None: what was found is its outcome."""
        del file, about
        raise NotFound(f"The explanation has no output '{name[:80]}'.")

    def answer(self, what: str, header: Json, body: bytes) -> Answer:
        """What is asked, or what the engine that serves says."""
        principal, target = self._principal, self._target
        if what == ASKED:
            return Answer({}, self._asked.to_bytes())
        if what == INFER:
            inputs = unpack_tensors(header["inputs"], body)
            found = self._caller.when_allowed(
                lambda: self._inference.infer(principal, target, inputs), _WHAT
            )
            entries, parts = pack_tensors(found.outputs)
            return Answer({"arrays": entries}, b"".join(parts))
        if what == MEASURE:
            return self._measured(header)
        raise NotFound(f"The explanation cannot be asked '{what[:80]}'.")

    def _measured(self, header: Json) -> Answer:
        item, options, wish = self._asked.item, self._asked.options, self._measuring(header)
        explained = self._caller.when_allowed(
            lambda: self._inference.explain(
                self._principal, self._target, item, options, wish, on_progress=self._on_progress
            ),
            _WHAT,
        )
        told = explained.told
        calls = told["cost"]["model_calls"]
        return Answer({"faithfulness": told["faithfulness"], "model_calls": calls})

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
