# ruff: noqa: D102 - the names of the tests say what they check
"""What every `TaskRules` must do. Subclass it and give the fixture `rules`: tasks among which are
`chat` for GGUF files and `tensor` for ONNX files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelry.domain.errors import NotSupported
from modelry.domain.signature import NO_TENSORS, Datatype, Signature, TensorSpec
from modelry.manifest.document import ManifestDocument
from modelry.manifest.sources import PathSource
from modelry.services.catalog.ports import TaskRules
from modelry.tasks.contract import ModelFacts

_VECTORS = TensorSpec("x", Datatype.FP32, (-1, 3, 5))
TENSORS = ModelFacts(
    format="onnx",
    signature=Signature((_VECTORS,), (replace(_VECTORS, name="y"),), batched=True),
    metadata={"operators": "Identity"},
    files={"model": Path("model.onnx")},
    formats={"model": "onnx"},
)
"""A model that no task but `tensor` is made for."""
CHAT = ModelFacts(
    format="gguf",
    signature=NO_TENSORS,
    metadata={"architecture": "llama", "chat_template": "true"},
    files={"model": Path("model.gguf")},
    formats={"model": "gguf"},
)
"""A language model for chats."""
UNKNOWN = replace(TENSORS, format="text", signature=NO_TENSORS, metadata={})
"""A file that is no model."""


def document(task: str) -> ManifestDocument:
    """The shortest manifest of a task."""
    return ManifestDocument("tested", task, {"model": PathSource("model")})


class TaskRulesContract:
    """The suite."""

    def test_tasks_are_named_once_and_sorted(self, rules: TaskRules) -> None:
        names = list(rules.names())
        assert names == sorted(set(names))
        assert {"chat", "tensor"} <= set(names)

    @pytest.mark.parametrize(("facts", "task"), [(TENSORS, "tensor"), (CHAT, "chat")])
    def test_a_model_is_recognised_and_told_why(
        self, rules: TaskRules, facts: ModelFacts, task: str
    ) -> None:
        found = rules.recognise(facts)
        assert found[0].task == task
        assert found[0].notes
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert all(0 < one.score <= 1 for one in found)
        assert {one.task for one in found} <= set(rules.names())

    def test_what_is_no_model_is_for_nothing(self, rules: TaskRules) -> None:
        assert rules.recognise(UNKNOWN) == []

    @pytest.mark.parametrize(("facts", "task"), [(TENSORS, "tensor"), (CHAT, "chat")])
    def test_the_steps_of_a_task_pass_its_own_check(
        self, rules: TaskRules, facts: ModelFacts, task: str
    ) -> None:
        steps = rules.steps(document(task), facts)
        assert all(isinstance(step["step"], str) for step in (*steps.pre, *steps.post))
        rules.check(document(task), facts, steps)

    @pytest.mark.parametrize(("facts", "task"), [(TENSORS, "tensor"), (CHAT, "chat")])
    def test_resolved_steps_declared_again_stay_as_they_are(
        self, rules: TaskRules, facts: ModelFacts, task: str
    ) -> None:
        steps = rules.steps(document(task), facts)
        again = replace(document(task), pre=tuple(steps.pre), post=tuple(steps.post))
        resolved = rules.steps(again, facts)
        assert (list(resolved.pre), list(resolved.post)) == (list(steps.pre), list(steps.post))

    @pytest.mark.parametrize(("facts", "task"), [(CHAT, "tensor"), (TENSORS, "chat")])
    def test_a_task_refuses_formats_that_it_cannot_use(
        self, rules: TaskRules, facts: ModelFacts, task: str
    ) -> None:
        with pytest.raises(NotSupported) as told:
            rules.check(document(task), facts, rules.steps(document(task), facts))
        assert facts.format in told.value.message
        assert task in told.value.message
