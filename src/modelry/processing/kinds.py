"""What a step declares about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelry.domain.signature import Signature, TensorSpec
from modelry.processing.parameters import Parameter, Unfit
from modelry.processing.values import Form, Stage

Side = Literal["pre", "post"]
SIDES: tuple[Side, ...] = ("pre", "post")
LABELS_ROLE = "labels"


@dataclass(frozen=True, slots=True)
class Assets:
    """Files and labels that belong to the version.

    `files` maps roles to readable paths; `digests` to `sha256:…`, where known; they make the
    graph's digest cover the files that its steps read.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def digest(self, role: str) -> str | None:
        """`sha256:…` of the file in a role, or of the labels; None when there is none."""
        if role == LABELS_ROLE and self.labels is not None:
            text = json.dumps(list(self.labels), separators=(",", ":"))
            return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        if role in self.digests:
            return self.digests[role]
        if role not in self.files:
            return None
        with self.files[role].open("rb") as content:
            return "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Building:
    """What a step may look at when the graph is built.

    `following` are the declared steps after it; `form` is what it will be given.
    """

    signature: Signature
    assets: Assets
    following: Sequence[Mapping[str, Any]]
    form: Form

    def file(self, role: str) -> Path:
        """The file in a role.

        Raises:
            Unfit: the manifest names none.
        """
        path = self.assets.files.get(role)
        if path is None:
            raise Unfit(f"it needs the file '{role}'; name it in the manifest: files.{role}.")
        return path

    def output(self, name: str) -> TensorSpec:
        """An output of the model.

        Raises:
            Unfit: there is none of that name.
        """
        for spec in self.signature.outputs:
            if spec.name == name:
                return spec
        raise Unfit(f"the model has no output '{name}'; it has: {self.output_names()}.")

    def output_names(self) -> str:
        """All outputs, for messages."""
        return ", ".join(f"'{spec.name}'" for spec in self.signature.outputs) or "none"


def _as_declared(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    del building
    return parameters


def _same_form(form: Form, bound: Mapping[str, Any]) -> Form:
    del bound
    return form


@dataclass(frozen=True, slots=True)
class StepKind:
    """A step that manifests can name.

    Args:
        name: as manifests write it.
        side: before or after the engine.
        run: the pure function `run(value, **bound)`; its docstring is the step's description
            in the reference. With `uses_context` it also gets `context=`, what is known from
            before the engine. With `each` it is called for one item at a time, so that not
            all decoded images are in memory at once; otherwise for all items together.
        takes: the stages that it can work on.
        gives: what comes out; None when it is what went in.
        parameters: what it declares.
        shorthand: the parameter that a bare value fills (`resize: 256`).
        prepare: turns validated parameters into what `run` is called with, once, when the
            graph is built; parameters that requests may override keep their name. May refuse
            with `Unfit`.
        trace: what is known of the value afterwards (its stage is set from `gives`); may
            refuse with `Unfit`.
        files: roles of files that it reads, given its parameters; `labels` stands for the
            version's labels.
        reads: fields that it reads of an item.
        needs_pictures: it needs to know the sizes of the items' images.
    """

    name: str
    side: Side
    run: Callable[..., Any]
    takes: tuple[Stage, ...]
    gives: Stage | None = None
    parameters: tuple[Parameter, ...] = ()
    shorthand: str | None = None
    prepare: Callable[[dict[str, Any], Building], dict[str, Any]] = _as_declared
    trace: Callable[[Form, Mapping[str, Any]], Form] = _same_form
    files: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: ()
    reads: tuple[str, ...] = ()
    each: bool = False
    uses_context: bool = False
    needs_pictures: bool = False
