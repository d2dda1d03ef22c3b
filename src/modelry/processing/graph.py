"""The processing graph of a version: from items to input tensors, from outputs to results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelry.domain.errors import InvalidInput, ManifestInvalid
from modelry.domain.signature import Signature
from modelry.processing.binding import BoundStep, Chain, bind_chain
from modelry.processing.complaints import of_item
from modelry.processing.declaration import place
from modelry.processing.finishing import RAW_FIELD
from modelry.processing.kinds import Assets
from modelry.processing.parameters import Parameter, show
from modelry.processing.steps.tabular import columns
from modelry.processing.values import Context, Form, Item, Picture, Pixels, Result, Stage, Tensors
from modelry.runtime_api.tensors import Array

DIGEST_FORMAT = 1
"""Part of every digest; raised when the same steps begin to compute something else."""

MAX_CALL_PIXELS = 2**28
"""Of all pictures of a call together, as they go into the engine."""

_NO_OPTIONS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ProcessingGraph:
    """The steps of one version, ready to run. Immutable and safe to use from many threads.

    `digest` is `sha256:…` over the normalised steps and everything that they read.
    """

    digest: str
    _pre: Chain
    _post: Chain

    @classmethod
    def build(
        cls,
        pre: Sequence[Mapping[str, Any]],
        post: Sequence[Mapping[str, Any]],
        signature: Signature,
        assets: Assets,
    ) -> ProcessingGraph:
        """Bind steps to a model and to its files.

        Args:
            pre: normalised steps before the engine; none when items carry tensors.
            post: normalised steps after it; none when its outputs are the answer.
            signature: what the engine takes and gives.
            assets: the version's files and labels.

        Raises:
            ManifestInvalid: steps that do not fit each other, the model or the files; `param`
                is the dotted path of the step.
        """
        if not signature.inputs:
            raise ManifestInvalid(
                "Processing steps need a model with tensors; this one has none.", param="pre"
            )
        before = bind_chain(pre, "pre", signature, assets)
        after = bind_chain(post, "post", signature, assets)
        _check_pictures(before, after)
        return cls(_digest(pre, post, before, after, assets), before, after)

    @property
    def options(self) -> Mapping[str, Parameter]:
        """What requests may override, by option name."""
        return {**self._pre.options, **self._post.options}

    @property
    def result_form(self) -> Form:
        """What is known of the results before anything runs."""
        return self._post.form

    @property
    def labels(self) -> Sequence[str] | None:
        """The names of the classes that are ranked, by index; None where there are none."""
        named = [
            step.arguments["labels"] for step in self._post.steps if "labels" in step.arguments
        ]
        return named[0] if named else None

    @property
    def column_places(self) -> Mapping[str, Sequence[int]] | None:
        """For each number of a row's inputs, by input, the place of the column that it comes from.

        None where rows are no table of columns, or a number comes from more than one of them.
        """
        steps = self._pre.steps
        if [step.run for step in steps] != [columns]:
            return None
        return {group.spec.name: group.places for group in steps[0].arguments["groups"]}

    def before(
        self, items: Sequence[Item], options: Mapping[str, Any] = _NO_OPTIONS
    ) -> tuple[dict[str, Array], Context]:
        """Input tensors for `items`; dimension 0 of each counts them.

        Args:
            items: one object per item, with the fields that the steps read.
            options: the request's overrides; null means not given.

        Raises:
            InvalidInput: an item or option is wrong; says which, and `param` names the field.
            ImageInvalid: an item's image cannot be decoded within the limits.
            ContextLengthExceeded: an item's text is too long.
        """
        self._check_options(options)
        fields = self._pre.fields() or frozenset({RAW_FIELD})
        _check_items(items, fields)
        run = [(step, step.with_options(options)) for step in self._pre.steps]
        for step in self._post.steps:  # wrong options shall not cost a run of the engine
            step.with_options(options)
        first = next((at for at, (step, _) in enumerate(run) if not step.each), len(run))
        value: Any = _run_each(items, [function for _, function in run[:first]])
        pixels: Pixels | None = None
        for _, function in run[first:]:
            if isinstance(value, Pixels):
                pixels = value
            value = function(value)
        return _finished(value, pixels, len(items))

    def after(
        self,
        outputs: Mapping[str, Array],
        context: Context,
        options: Mapping[str, Any] = _NO_OPTIONS,
    ) -> Result:
        """The results of a call.

        Args:
            outputs: the engine's outputs; dimension 0 of those that steps use counts items.
            context: what `before` gave, for the same items in the same order.
            options: as given to `before`.

        Raises:
            ModelFailed: outputs of another shape than declared, NaN or infinities.
            InvalidInput: an option is wrong.
        """
        value: Any = outputs
        for step in self._post.steps:
            function = step.with_options(options)
            value = function(value, context=context) if step.uses_context else function(value)
        result: Result = value
        return result

    def scores(self, outputs: Mapping[str, Array], context: Context) -> Array | None:
        """The numbers that the results come from: scores of classes, before they are ranked.

        Args:
            outputs: as for `after`.
            context: likewise.

        Returns:
            (items, numbers); None where the results are no row of numbers.

        Raises:
            ModelFailed: outputs of another shape than declared.
        """
        value: Any = outputs
        kinds = "fiu"
        for step in self._post.steps:
            if step.ranks:
                kinds = "f"  # whole numbers that are ranked are classes, and score nothing
                break
            value = step.run(value, **step.arguments, **_context_of(step, context))
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
            return None
        rows: Array = value.reshape(context.count, -1)
        return rows

    def _check_options(self, options: Mapping[str, Any]) -> None:
        known = self.options
        for name, value in options.items():
            if name not in known and value is not None:
                takes = ", ".join(known) or "no options"
                raise InvalidInput(
                    f"This model does not take the option {show(name)}; it takes: {takes}.",
                    param=str(name)[:80],
                )


def _context_of(step: BoundStep, context: Context) -> dict[str, Context]:
    return {"context": context} if step.uses_context else {}


def _check_pictures(before: Chain, after: Chain) -> None:
    if any(kind.gives is Stage.PICTURE for kind in before.kinds):
        return
    for index, kind in enumerate(after.kinds):
        if kind.needs_pictures:
            raise ManifestInvalid(
                place("post", index, kind.name)
                + "it needs to know the sizes of the images, but no step of 'pre' decodes any; "
                "begin 'pre' with 'decode'.",
                param=f"post[{index}]",
            )


def _check_items(items: Any, fields: frozenset[str]) -> None:
    expected = ", ".join(sorted(fields))
    if not isinstance(items, list | tuple) or not items:
        raise InvalidInput(
            f"The items are {show(items)}; expected a list of at least one object with: {expected}."
        )
    for index, item in enumerate(items):
        where = of_item(index, len(items))
        if not isinstance(item, Mapping):
            raise InvalidInput(f"{where}it is {show(item)}; expected an object with: {expected}.")
        unknown = [name for name in item if name not in fields]
        if unknown:
            raise InvalidInput(
                f"{where}unknown field {show(unknown[0])}; this model reads: {expected}.",
                param=str(unknown[0])[:80],
            )


def _run_each(items: Sequence[Item], functions: Sequence[Callable[..., Any]]) -> Sequence[Any]:
    """One item after the other through all steps that take single items."""
    if not functions:
        return items
    done = []
    pixels = 0
    for index, item in enumerate(items):
        value: Any = item
        try:
            for function in functions:
                value = function(value)
            if isinstance(value, Picture):
                pixels += value.image.width * value.image.height
            if pixels > MAX_CALL_PIXELS:
                raise InvalidInput(
                    f"with it the call has more than {MAX_CALL_PIXELS} pixels; send fewer or "
                    "smaller images in one request."
                )
        except InvalidInput as error:
            where = of_item(index, len(items))
            raise type(error)(where + error.message, param=error.param) from None
        done.append(value)
    return done


def _finished(
    tensors: Tensors, pixels: Pixels | None, count: int
) -> tuple[dict[str, Array], Context]:
    return dict(tensors.inputs), Context(
        count=count,
        geometry=None if pixels is None else pixels.geometry,
        input_size=None if pixels is None else pixels.input_size,
        mask=tensors.mask,
        token_counts=tensors.token_counts,
    )


def _digest(
    pre: Sequence[Mapping[str, Any]],
    post: Sequence[Mapping[str, Any]],
    before: Chain,
    after: Chain,
    assets: Assets,
) -> str:
    roles: set[str] = set()
    for chain, declared in ((before, pre), (after, post)):
        for kind, entry in zip(chain.kinds, declared, strict=True):
            roles.update(kind.files(entry))
    material = {
        "format": DIGEST_FORMAT,
        "pre": [dict(entry) for entry in pre],
        "post": [dict(entry) for entry in post],
        "files": {role: assets.digest(role) for role in sorted(roles)},
    }
    canonical = json.dumps(material, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
