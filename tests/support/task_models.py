"""A version as a worker serves it, from a small ONNX model and a manifest: without processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.support.onnx_models import model_of
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from modelry.manifest.document import ManifestDocument, from_mapping
from modelry.manifest.inspect.files import inspect_file
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtimes.onnx.runtime import OnnxRuntime
from modelry.tasks.contract import ModelFacts, Steps
from modelry.tasks.prediction import Answer, Predictor, join_answers, predictor_for
from modelry.tasks.rules import InstalledTasks

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "cat", "dog")


def facts_of(files: Mapping[str, Path]) -> ModelFacts:
    """What is known of files before their manifest is resolved."""
    inspected = {role: inspect_file(path) for role, path in files.items()}
    main = inspected["model"]
    formats = {role: facts.format for role, facts in inspected.items()}
    return ModelFacts(main.format, main.signature, main.metadata, files, formats)


def written(folder: Path, **contents: onnx.ModelProto | bytes) -> dict[str, Path]:
    """Files of a version, by role."""
    files = {}
    for role, content in contents.items():
        files[role] = folder / role
        is_model = isinstance(content, onnx.ModelProto)
        files[role].write_bytes(content.SerializeToString() if is_model else content)
    return files


def manifest(task: str, files: Mapping[str, Path], **more: Any) -> ManifestDocument:
    """A manifest of these files; `more` are further keys as JSON."""
    names = {role: path.name for role, path in files.items()}
    return from_mapping({"name": "tested", "task": task, "files": names, **more})


class ServedVersion:
    """A version that went through the catalogue's rules, and its engine and predictor."""

    def __init__(self, task: str, files: Mapping[str, Path], **more: Any) -> None:
        rules = InstalledTasks()
        document = manifest(task, files, **more)
        facts = facts_of(files)
        self.steps: Steps = rules.steps(document, facts)
        rules.check(document, facts, self.steps)
        kept = json.loads(
            json.dumps(
                {
                    "name": "tested",
                    "task": task,
                    "files": {role: {"name": path.name} for role, path in files.items()},
                    "pre": list(self.steps.pre),
                    "post": list(self.steps.post),
                    "labels": document.labels,
                    "defaults": dict(document.defaults),
                }
            )
        )
        self.engine = OnnxRuntime().load(LoadSpec(task, "onnx", kept, files))
        found = predictor_for(task, kept, files, self.engine.signature)
        assert found is not None
        self.predictor: Predictor = found

    def predict(
        self, items: Sequence[Any], options: Mapping[str, Any] | None = None, most: int = 100
    ) -> Answer:
        """Items through steps, engine and steps, `most` of them at once in the engine."""
        prepared = self.predictor.before(items, options or {})
        return join_answers(
            [
                self.predictor.after(part, self.engine.infer(part.inputs, StopSignal()))
                for part in self.predictor.parts(prepared, most)
            ]
        )


def tokenizer_file() -> bytes:
    """A tokenizer of whole words, with [CLS] and [SEP] around a text or pair."""
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.enable_padding(pad_id=0, pad_token="[PAD]")
    return made.to_str().encode()


def token_vectors(size: int = 64) -> onnx.ModelProto:
    """Looks each token up in a table of `size` numbers; the mask is read, never used."""
    table = np.random.default_rng(1).normal(size=(len(WORDS), size)).astype("f4")
    shape = ["batch", "length"]
    return model_of(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["looked_up"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["mask"], ["ones"], axes=[1], keepdims=1),
            helper.make_node("Unsqueeze", ["ones", "last"], ["wide"]),
            helper.make_node("Mul", ["looked_up", "wide"], ["last_hidden_state"]),
        ],
        {
            "input_ids": (TensorProto.INT64, shape),
            "attention_mask": (TensorProto.INT64, shape),
        },
        {"last_hidden_state": (TensorProto.FLOAT, ["batch", "length", size])},
        {"table": table, "last": np.array([2])},
    )


def word_counter(classes: int = 2, *, ends_in: str = "") -> onnx.ModelProto:
    """Logit 0 is how often "good" occurs, logit 1 "bad", the others 0."""
    table = np.zeros((len(WORDS), classes), "f4")
    for at, word in enumerate(("good", "bad")[:classes]):
        table[WORDS.index(word), at] = 1.0
    last = "counts" if ends_in else "logits"
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["looked_up"]),
        helper.make_node("ReduceSum", ["looked_up", "axis"], [last], keepdims=0),
    ]
    if ends_in:
        nodes.append(helper.make_node(ends_in, [last], ["logits"]))
    return model_of(
        nodes,
        {"input_ids": (TensorProto.INT64, ["batch", "length"])},
        {"logits": (TensorProto.FLOAT, ["batch", classes])},
        {"table": table, "axis": np.array([1])},
    )


def channel_means(
    channels: int = 3,
    size: int | str = 32,
    *,
    layout: str = "nchw",
    element: int = TensorProto.FLOAT,
    ends_in: str = "",
) -> onnx.ModelProto:
    """Scores each class by the mean of one colour channel of the input as it comes."""
    axes = [2, 3] if layout == "nchw" else [1, 2]
    shape = ["batch", channels, size, size] if layout == "nchw" else ["batch", size, size, channels]
    last = "means" if ends_in else "scores"
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], [last], axes=axes, keepdims=0),
    ]
    if ends_in:
        nodes.append(helper.make_node(ends_in, [last], ["scores"]))
    return model_of(
        nodes,
        {"image": (element, shape)},
        {"scores": (TensorProto.FLOAT, ["batch", channels])},
    )


def linear_classifier(classes: Sequence[str | int]) -> onnx.ModelProto:
    """As skl2onnx writes a logistic regression: column i speaks for class i."""
    count = len(classes)
    names = (
        {"classlabels_strings": list(classes)}
        if isinstance(classes[0], str)
        else {"classlabels_ints": list(classes)}
    )
    node = helper.make_node(
        "LinearClassifier",
        ["float_input"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        coefficients=np.eye(count, dtype="f4").ravel().tolist(),
        intercepts=[0.0] * count,
        post_transform="SOFTMAX",
        **names,
    )
    element = TensorProto.STRING if isinstance(classes[0], str) else TensorProto.INT64
    return _machine_learning(
        [node],
        {"float_input": (TensorProto.FLOAT, ["rows", count])},
        {
            "label": (element, ["rows"]),
            "probabilities": (TensorProto.FLOAT, ["rows", count]),
        },
    )


def scalar_columns() -> onnx.ModelProto:
    """As skl2onnx writes a pipeline over a data frame: one input per column; 2 * age + score."""
    return _machine_learning(
        [
            helper.make_node("Cast", ["age"], ["years"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["years", "years"], ["twice"]),
            helper.make_node("Add", ["twice", "score"], ["variable"]),
        ],
        {
            "age": (TensorProto.INT64, ["rows", 1]),
            "score": (TensorProto.FLOAT, ["rows", 1]),
        },
        {"variable": (TensorProto.FLOAT, ["rows", 1])},
    )


def _machine_learning(nodes: list[Any], inputs: Any, outputs: Any) -> onnx.ModelProto:
    model = model_of(nodes, inputs, outputs)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


def yolo_like(output: Any, size: int = 64) -> onnx.ModelProto:
    """Gives a fixed output (1, …), once per image of (batch, 3, size, size)."""
    output = np.asarray(output, dtype="f4")
    return model_of(
        [
            helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["means", "means"], ["zeros"]),
            helper.make_node("Reshape", ["zeros", "column"], ["column_of_zeros"]),
            helper.make_node("Add", ["column_of_zeros", "fixed"], ["output0"]),
        ],
        {"images": (TensorProto.FLOAT, ["batch", 3, size, size])},
        {"output0": (TensorProto.FLOAT, ["batch", *output.shape[1:]])},
        {"fixed": output, "column": np.array([-1, 1, 1])},
    )
