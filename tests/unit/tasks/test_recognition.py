"""Which task a model is for, told from its metadata and signature; hostile ones included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.domain.errors import ManifestInvalid, ModelryError, NotSupported
from modelry.domain.signature import NO_TENSORS, Datatype, Signature, TensorSpec
from modelry.manifest.document import ManifestDocument, from_mapping
from modelry.tasks.contract import ModelFacts
from modelry.tasks.registry import task_called, tasks
from modelry.tasks.rules import InstalledTasks

RULES = InstalledTasks()
TEXT = st.text("ab_{}[]:'\"01 ,\\", max_size=20)
SPECS = st.lists(
    st.builds(
        TensorSpec,
        st.sampled_from(["input_ids", "attention_mask", "image", "x", "logits", "boxes", "label"]),
        st.sampled_from(Datatype),
        st.lists(st.sampled_from([-1, 1, 2, 3, 5, 28, 64, 384, 2**40]), max_size=5).map(tuple),
    ),
    max_size=4,
    unique_by=lambda spec: spec.name,
).map(tuple)
WORDS = st.one_of(TEXT, st.sampled_from(["Softmax", "detect", "true", "1", "bert"]))
METADATA = st.dictionaries(
    st.sampled_from(
        ["operators", "made_by.logits", "task", "names", "imgsz", "stride", "producer",
         "architecture", "pooling_type", "type", "chat_template"]
    ),
    WORDS,
)  # fmt: skip


def gguf(**metadata: str) -> ModelFacts:
    path = Path("model.gguf")
    return ModelFacts("gguf", NO_TENSORS, metadata, {"model": path}, {"model": "gguf"})


def refused(document: ManifestDocument, facts: ModelFacts) -> ModelryError | None:
    """The error with which the rules refuse a manifest; None when they take it."""
    try:
        RULES.check(document, facts, RULES.steps(document, facts))
    except (ManifestInvalid, NotSupported) as error:
        return error
    return None


@pytest.mark.parametrize(
    ("metadata", "best"),
    [
        ({"architecture": "llama", "chat_template": "true"}, "chat"),
        ({"architecture": "llama", "chat_template": "false"}, "chat"),
        ({"architecture": "bert", "pooling_type": "1"}, "text-embedding"),
        ({"architecture": "nomic-bert"}, "text-embedding"),
        ({"architecture": "qwen3", "chat_template": "true", "pooling_type": "3"}, "text-embedding"),
        ({"architecture": "llama", "chat_template": "true", "pooling_type": "0"}, "chat"),
        ({"architecture": "bert", "pooling_type": "4"}, None),
        ({"architecture": "llama", "type": "adapter"}, None),
        ({"architecture": "clip", "type": "mmproj"}, None),
        ({"architecture": "clip"}, None),
    ],
)
def test_gguf_files_are_told_by_their_metadata(metadata: dict[str, str], best: str | None) -> None:
    found = RULES.recognise(gguf(**metadata))
    assert (found[0].task if found else None) == best


@settings(deadline=None)
@given(SPECS, SPECS, METADATA, st.sampled_from(["onnx", "gguf", "json"]), st.booleans())
def test_nothing_that_a_file_says_breaks_the_rules(
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    metadata: dict[str, str],
    file_format: str,
    is_batched: bool,
) -> None:
    path = Path("model")
    facts = ModelFacts(
        file_format,
        Signature(inputs, outputs, batched=is_batched),
        metadata,
        {"model": path},
        {"model": file_format},
    )
    for recognition in RULES.recognise(facts):
        assert 0 < recognition.score <= 1
        assert all(recognition.notes)
    for name in RULES.names():
        document = from_mapping({"name": "x", "task": name, "files": {"model": "model"}})
        refusal = refused(document, facts)
        assert refusal is None or 0 < len(refusal.message) < 2000


@settings(deadline=None)
@given(
    st.one_of(
        st.lists(st.one_of(TEXT, st.integers(), st.dictionaries(TEXT, st.floats())), max_size=3)
    )
)
def test_steps_of_any_shape_are_refused_in_words(steps: list[Any]) -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1, 3, 8, 8))
    facts = ModelFacts(
        "onnx", Signature((spec,), (spec,), batched=True), {}, {"model": Path("m")}, {}
    )
    base = from_mapping({"name": "x", "task": "image-classification", "files": {"model": "m"}})
    document = type(base)(base.name, base.task, base.files, pre=tuple(steps), post=tuple(steps))
    refusal = refused(document, facts)
    assert refusal is None or refusal.param


@pytest.mark.parametrize("name", RULES.names())
def test_every_task_describes_itself(name: str) -> None:
    task = tasks()[name]
    assert task.name == name
    assert task.summary.endswith(".")
    assert task.formats
    if task.form is not None:
        assert task.form.item["type"] == "object"
        # steps are for engines with tensors
        assert task.form.ends_in or "onnx" not in task.formats
        assert all("type" in schema for schema in task.form.options.values())


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(NotSupported, match="known are: chat"):
        task_called("poetry")


@pytest.mark.parametrize("task", ["chat", "tensor"])
def test_tasks_without_items_take_no_steps(task: str) -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1,))
    facts = (
        gguf(architecture="llama")
        if task == "chat"
        else ModelFacts("onnx", Signature((spec,), (spec,), batched=True), {}, {}, {})
    )
    document = from_mapping(
        {"name": "x", "task": task, "files": {"model": "m"}, "post": ["softmax"]}
    )
    with pytest.raises(ManifestInvalid, match="leave it out") as told:
        RULES.check(document, facts, RULES.steps(document, facts))
    assert told.value.param == "post"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"defaults": {"temprature": 1.0}}, "defaults.temprature"),
        ({"defaults": {"logit_bias": "x"}}, "defaults.logit_bias"),
    ],
)
def test_defaults_that_no_chat_engine_reads_are_refused(more: dict[str, Any], param: str) -> None:
    document = from_mapping({"name": "x", "task": "chat", "files": {"model": "m"}, **more})
    refusal = refused(document, gguf(architecture="llama"))
    assert refusal is not None
    assert refusal.param == param


def test_defaults_of_chats_are_taken() -> None:
    more = {"defaults": {"system": "Be brief.", "temperature": 0.2, "stop": ["."]}}
    limits = {"limits": {"context": 2048}}
    document = from_mapping(
        {"name": "x", "task": "chat", "files": {"model": "m"}, **more, **limits}
    )
    assert refused(document, gguf(architecture="llama")) is None


def test_a_bound_of_tokens_where_nothing_counts_them_is_refused() -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1,))
    facts = ModelFacts("onnx", Signature((spec,), (spec,), batched=True), {}, {}, {})
    document = from_mapping(
        {"name": "x", "task": "tensor", "files": {"model": "m"}, "limits": {"context": 9}}
    )
    refusal = refused(document, facts)
    assert refusal is not None
    assert refusal.param == "limits.context"
