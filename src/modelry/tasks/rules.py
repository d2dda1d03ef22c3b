"""What the catalogue asks of tasks when it resolves a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from modelry.domain.errors import ManifestInvalid, NotSupported
from modelry.manifest.document import ManifestDocument
from modelry.processing.declaration import normalize_steps, step_kind
from modelry.processing.kinds import LABELS_ROLE, Side
from modelry.processing.values import Stage
from modelry.tasks.contract import DefaultsOf, DefaultSteps, ModelFacts, Recognition, Steps, Task
from modelry.tasks.graphs import assets_of, build_graph
from modelry.tasks.manifest_checks import (
    check_context,
    check_option_defaults,
    check_plain_defaults,
)
from modelry.tasks.registry import task_called, tasks

_CLASSES = (Stage.RANKING, Stage.CANDIDATES, Stage.OBJECTS)


class InstalledTasks:
    """The rules of the tasks that are installed; the catalogue's port `TaskRules`."""

    def names(self) -> Sequence[str]:
        """All tasks, sorted."""
        return tuple(tasks())

    def recognise(self, facts: ModelFacts) -> list[Recognition]:
        """What the model may be for, likeliest first; the first tells the others' notes as well."""
        found = [
            recognition
            for task in tasks().values()
            if facts.format in task.formats and (recognition := task.recognise(facts))
        ]
        found.sort(key=lambda one: (-one.score, one.task))
        if len(found) > 1:
            others = [f"or '{one.task}': {', '.join(one.notes)}" for one in found[1:] if one.notes]
            found[0] = replace(found[0], notes=(*found[0].notes, *others))
        return found

    def steps(self, document: ManifestDocument, facts: ModelFacts) -> Steps:
        """The document's steps normalised, and the task's defaults where it has none.

        Where the version has labels, classes are called by them, whether the steps say so or not.

        Raises:
            ManifestInvalid: unknown steps or parameters; points at them.
            NotSupported: the task cannot use a model of this format.
        """
        task = task_called(document.task)
        _check_format(task, facts)
        pre, pre_notes = _side(document, facts, "pre", document.pre, task.default_pre)
        post, post_notes = _side(document, facts, "post", document.post, task.default_post)
        pre = [_bounded(step, document.limits.context) for step in pre]
        if document.labels is not None or LABELS_ROLE in facts.files:
            post = _labelled(post)
        return Steps(pre, post, (*pre_notes, *post_notes))

    def check(self, document: ManifestDocument, facts: ModelFacts, steps: Steps) -> None:
        """Build the processing graph, to see that steps, files and signature fit each other.

        Raises:
            ManifestInvalid: they do not; points at the step.
            NotSupported: the task cannot use a model of this format.
        """
        task = task_called(document.task)
        _check_format(task, facts)
        check_context(document, task)
        task.check_files(document, facts)
        if not facts.signature.inputs or task.form is None:
            _refuse_steps(document, task, steps)
            check_plain_defaults(document, task)
            return
        try:
            graph = build_graph(
                task, steps, facts.signature, assets_of(facts.files, document.labels)
            )
        except ManifestInvalid as error:
            if error.param == _place_of_label(steps):
                path = "files.labels" if document.labels is None else "labels"
                raise document.invalid(error.message, path) from None
            raise _located(document, error) from None
        check_option_defaults(document, graph)


def _bounded(step: dict[str, Any], context: int | None) -> dict[str, Any]:
    """A step that counts tokens takes the manifest's bound where it has none of its own."""
    if step["step"] != "tokenize" or context is None or "max_length" in step:
        return step
    return {**step, "max_length": context}


def _place_of_label(steps: Steps) -> str | None:
    """The path of the step that uses the labels, which may be ours and not the manifest's."""
    places = [at for at, step in enumerate(steps.post) if step["step"] == "label"]
    return f"post[{places[0]}]" if places else None


def _side(
    document: ManifestDocument,
    facts: ModelFacts,
    side: Side,
    declared: Sequence[Any] | None,
    defaults_of: DefaultsOf,
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The steps of one side and what was assumed."""
    chosen = DefaultSteps(declared) if declared is not None else defaults_of(document, facts)
    try:
        return normalize_steps(chosen.steps, side), chosen.notes
    except ManifestInvalid as error:
        raise _located(document, error) from None


def _labelled(post: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`post` with a step that names the classes it finds, if it finds some."""
    names = [step["step"] for step in post]
    kinds = [step_kind(step, "post", at) for at, step in enumerate(post)]
    if "label" in names or not any(kind.gives in _CLASSES for kind in kinds):
        return post
    return [*post, *normalize_steps(["label"], "post")]


def _check_format(task: Task, facts: ModelFacts) -> None:
    """Formats that no task knows are left to the runtime that the manifest names for them."""
    known = frozenset[str]().union(*(one.formats for one in tasks().values()))
    if facts.format in known - task.formats:
        raise NotSupported(
            f"The task '{task.name}' cannot use a model file of the format '{facts.format}'; it "
            f"takes: {', '.join(sorted(task.formats))}.",
            param="task",
        )


def _refuse_steps(document: ManifestDocument, task: Task, steps: Steps) -> None:
    """Models that take their input as it comes have nothing that steps could work on."""
    for side, given in (("pre", steps.pre), ("post", steps.post)):
        if given:
            raise document.invalid(
                f"'{side}' declares steps, but a model of the task '{task.name}' in this format "
                "takes its input as it comes; leave it out.",
                side,
            )


def _located(document: ManifestDocument, error: ManifestInvalid) -> ManifestInvalid:
    """`error` with the line where its steps stand, or the word that they are the task's own."""
    path = error.param or ""
    side = path.partition("[")[0]
    if side in ("pre", "post") and getattr(document, side) is None:
        return document.invalid(
            f"{error.message} (The manifest has no '{side}'; these are the steps that the task "
            f"'{document.task}' takes by itself. Declare '{side}' to say otherwise.)",
            side,
        )
    return document.invalid(error.message, path)
