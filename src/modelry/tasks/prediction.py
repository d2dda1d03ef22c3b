"""From items to input tensors, and from output tensors to results: what a worker calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelry.domain.errors import ModelFailed, NotSupported
from modelry.domain.signature import Signature
from modelry.processing.graph import ProcessingGraph
from modelry.processing.values import Context, Detections, Stage
from modelry.runtime_api.tensors import Array
from modelry.tasks.contract import ItemForm, Steps
from modelry.tasks.graphs import assets_of, build_graph
from modelry.tasks.registry import task_called

MIN_SCORE_OPTION = "min_score"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Items of one call, or a part of them, ready for the engine.

    Dimension 0 of every input is the items', in order: inputs of several calls may be put
    together along it where their other dimensions agree (texts are padded to the longest of
    their call), and each call takes its own slice of the outputs. `context` is for the steps
    after the engine; `first` is the place of the first item in its call.
    """

    inputs: Mapping[str, Array]
    count: int
    context: Context
    options: Mapping[str, Any]
    usage: Mapping[str, int]
    first: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: a JSON result per item, arrays with one row per item, or both."""

    items: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)


class Predictor(Protocol):
    """The processing of one loaded version; pure, and safe to call from several threads."""

    def before(self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prepared:
        """The engine's inputs for `items`.

        Raises:
            InvalidInput: an item or option is not what the task takes; says which.
        """
        ...

    def parts(self, prepared: Prepared, most: int) -> Iterator[Prepared]:
        """`prepared` in parts of at most `most` items, for engines that take only so many."""
        ...

    def after(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Answer:
        """The results of `prepared`, from the engine's outputs for exactly its items.

        Raises:
            ModelFailed: the outputs are not what the model's file says, or not numbers.
        """
        ...

    @property
    def labels(self) -> Sequence[str] | None:
        """The names of the classes by index, where the version has any."""
        ...

    @property
    def column_places(self) -> Mapping[str, Sequence[int]] | None:
        """For each number of a row's inputs, by input, the place of the column that it comes from.

        None where that is not known, or no rows are taken.
        """
        ...

    def scores(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Array:
        """The numbers (items, n) that the results of `prepared` come from, such as class scores.

        Raises:
            NotSupported: the results of this version are no row of numbers.
            ModelFailed: the outputs are not what the model's file says.
        """
        ...

    @property
    def finds_objects(self) -> bool:
        """Whether its results are boxes around objects in images."""
        ...

    def objects(
        self, prepared: Prepared, outputs: Mapping[str, Array], least_score: float | None = None
    ) -> Detections:
        """The objects in images, before they are rendered.

        Args:
            prepared: as for `after`.
            outputs: likewise.
            least_score: of objects that are told, where the version lets requests choose it; no
                option of the request counts then. None leaves all as the request has it.

        Raises:
            NotSupported: the version finds no objects.
            ModelFailed: the outputs are not what the model's file says, or not numbers.
        """
        ...


class GraphPredictor:
    """Predicts by a processing graph.

    Args:
        graph: the version's.
        form: how its task counts and renders.
        defaults: options for requests that do not give them.
    """

    def __init__(
        self, graph: ProcessingGraph, form: ItemForm, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self._graph = graph
        self._form = form
        self._defaults = dict(defaults or {})

    @property
    def digest(self) -> str:
        """`sha256:…` of the graph: predictors of the same digest do the same."""
        return self._graph.digest

    def before(self, items: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prepared:
        """The engine's inputs for `items`.

        Raises:
            InvalidInput: an item or option is not what the task takes; says which.
        """
        if self._defaults:
            given = {name: value for name, value in options.items() if value is not None}
            options = {**self._defaults, **given}
        inputs, context = self._graph.before(items, options)
        return Prepared(inputs, context.count, context, options, self._form.count(context))

    def parts(self, prepared: Prepared, most: int) -> Iterator[Prepared]:
        """`prepared` in parts of at most `most` items; itself when it has no more."""
        if prepared.count <= most:
            yield prepared
            return
        for start in range(0, prepared.count, most):
            which = range(start, min(start + most, prepared.count))
            context = prepared.context.take(which)
            yield Prepared(
                inputs={
                    name: array[which.start : which.stop] for name, array in prepared.inputs.items()
                },
                count=len(which),
                context=context,
                options=prepared.options,
                usage=self._form.count(context),
                first=prepared.first + start,
            )

    def after(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Answer:
        """The results of `prepared`, from the engine's outputs for exactly its items.

        Raises:
            ModelFailed: the outputs are not what the model's file says, or not numbers.
        """
        value = self._graph.after(outputs, prepared.context, prepared.options)
        results = self._form.render(value, prepared.context, prepared.first)
        return Answer(results.items, results.arrays, dict(prepared.usage))

    @property
    def labels(self) -> Sequence[str] | None:
        """See `Predictor.labels`."""
        return self._graph.labels

    @property
    def column_places(self) -> Mapping[str, Sequence[int]] | None:
        """See `Predictor.column_places`."""
        return self._graph.column_places

    def scores(self, prepared: Prepared, outputs: Mapping[str, Array]) -> Array:
        """See `Predictor.scores`."""
        scores = self._graph.scores(outputs, prepared.context)
        if scores is None:
            raise NotSupported("The results of this version are no row of numbers.")
        return scores

    @property
    def finds_objects(self) -> bool:
        """See `Predictor.finds_objects`."""
        return self._graph.result_form.stage is Stage.OBJECTS

    def objects(
        self, prepared: Prepared, outputs: Mapping[str, Array], least_score: float | None = None
    ) -> Detections:
        """See `Predictor.objects`."""
        options = prepared.options
        if least_score is not None:
            has_bound = MIN_SCORE_OPTION in self._graph.options
            options = {MIN_SCORE_OPTION: least_score} if has_bound else {}
        value = self._graph.after(outputs, prepared.context, options)
        if not isinstance(value, Detections):
            raise NotSupported("The results of this version are no boxes around objects.")
        return value


def join_answers(answers: Sequence[Answer]) -> Answer:
    """The answers of all parts of a call as one.

    Raises:
        ModelFailed: their arrays differ in more than the number of rows.
    """
    if len(answers) == 1:
        return answers[0]
    usage: dict[str, int] = {}
    for answer in answers:
        for unit, count in answer.usage.items():
            usage[unit] = usage.get(unit, 0) + count
    try:
        arrays = {
            name: np.concatenate([answer.arrays[name] for answer in answers])
            for name in (answers[0].arrays if answers else ())
        }
    except ValueError:
        raise ModelFailed(
            "The model gave results of different shapes for the items of one request; send them "
            "in separate requests."
        ) from None
    return Answer([item for answer in answers for item in answer.items], arrays, usage)


def predictor_for(
    task: str, manifest: Mapping[str, Any], files: Mapping[str, Path], signature: Signature
) -> Predictor | None:
    """The predictor of a version.

    Args:
        task: the version's task.
        manifest: its resolved manifest.
        files: its files, by role.
        signature: what its engine takes and gives.

    Returns:
        None where items do not go through a graph: the task has none (chat, tensor), or the
        engine has no tensors and does it all itself (embeddings from GGUF).

    Raises:
        ManifestInvalid: the manifest does not fit the engine.
        NotSupported: the task is not known here.
    """
    found = task_called(task)
    if found.form is None or not signature.inputs:
        return None
    declared: Mapping[str, Mapping[str, Any]] = manifest.get("files") or {}
    digests = {role: str(file["digest"]) for role, file in declared.items() if "digest" in file}
    steps = Steps(manifest.get("pre") or (), manifest.get("post") or ())
    assets = assets_of(files, manifest.get("labels"), digests)
    graph = build_graph(found, steps, signature, assets)
    return GraphPredictor(graph, found.form, manifest.get("defaults"))
