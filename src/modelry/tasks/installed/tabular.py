"""Tabular: a row of a table goes in; a class with its score, or numbers, come out."""

from __future__ import annotations

from typing import Any

from modelry.domain.errors import ManifestInvalid
from modelry.domain.signature import DYNAMIC, Datatype, TensorSpec
from modelry.manifest.document import ManifestDocument
from modelry.processing.columns import MAX_COLUMNS, Kind
from modelry.processing.values import Context, Ranking, Stage
from modelry.runtime_api.tensors import Array
from modelry.tasks.background_rows import BACKGROUND_ROLE, read_background
from modelry.tasks.class_steps import steps_on
from modelry.tasks.contract import DefaultSteps, ItemForm, ModelFacts, Recognition, Results, Task
from modelry.tasks.rendering import (
    LABELS,
    MIN_SCORE,
    TOP_K,
    check_finite,
    count_rows,
    render_labels,
)
from modelry.tasks.signature_reading import (
    FLOATS,
    class_scores,
    flat_outputs,
    name_list,
    text_inputs,
)

NAME = "tabular"
_MACHINE_LEARNING = ("Tree", "Linear", "SVM", "Scaler", "OneHotEncoder", "LabelEncoder", "Imputer")
"""How the operators of ONNX's `ai.onnx.ml` begin that models of tables are made of."""
_PRODUCERS = ("skl2onnx", "onnxmltools")


def recognise(facts: ModelFacts) -> Recognition | None:
    """Models that take columns and give one class or a few numbers per row."""
    inputs = facts.signature.inputs
    counts = [_column_count(spec) for spec in inputs]
    if not inputs or None in counts or text_inputs(facts.signature) or _output(facts) is None:
        return None
    operators = facts.metadata.get("operators", "").split(",")
    known = [word for word in operators if word.startswith(_MACHINE_LEARNING)]
    told = f"{len(inputs)} input(s) take {sum(filter(None, counts))} column(s) in all"
    if known or facts.metadata.get("producer", "").lower() in _PRODUCERS:
        made = (
            f"it is made of {known[0]}" if known else f"it comes from {facts.metadata['producer']}"
        )
        return Recognition(NAME, 0.9, (told, made))
    if len(inputs) > 1 and set(counts) == {1}:
        return Recognition(NAME, 0.7, (told, "each input is one column"))
    if len(inputs) == 1 and inputs[0].datatype in FLOATS and len(inputs[0].shape) == 2:
        return Recognition(NAME, 0.5, (told,))
    return None


def default_pre(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """The columns in the model's own order: named as its inputs, or f0, f1, … within one.

    Raises:
        ManifestInvalid: the file does not tell how many columns an input takes.
    """
    columns: list[Any] = []
    for spec in facts.signature.inputs:
        count = _column_count(spec)
        if count is None or len(columns) + count > MAX_COLUMNS:
            raise document.invalid(
                f"The model's inputs are {name_list(facts.signature.inputs)}; the file does not "
                f"tell which columns '{spec.name}' takes. Declare them: 'pre: [columns: [NAME, "
                "…]]', or choose the task 'tensor'.",
                "pre",
            )
        columns += _columns(spec, count, is_only=len(facts.signature.inputs) == 1)
    names = [column["name"] for column in columns]
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    note = f"columns are called {shown}; to give them names, declare 'pre: [columns: [NAME, …]]'"
    return DefaultSteps([{"columns": columns}], (note,))


def default_post(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """Ranked classes where the model scores classes, else its numbers as they are.

    Raises:
        ManifestInvalid: the model has several outputs and no telling which is the answer.
    """
    output = _output(facts)
    if output is None:
        raise document.invalid(
            f"The model's outputs are {name_list(facts.signature.outputs)}; the file does not "
            "tell which is the answer. Declare it: 'post: [output: NAME]', or for scores of "
            "classes 'post: [output: NAME, top_k: 5]'.",
            "post",
        )
    is_labelled = document.labels is not None or "labels" in facts.files
    if output in flat_outputs(facts.signature) and output.shape[1] != 1:
        scores = class_scores(facts, output)
        if scores.are_probabilities or is_labelled:
            return steps_on(facts, scores, 5)
    elif is_labelled and output.datatype not in FLOATS | {Datatype.BYTES}:
        return DefaultSteps([{"output": output.name}, "classes"])
    return DefaultSteps([{"output": output.name}])


def render(value: Ranking | Array, context: Context, first: int) -> Results:
    """Per row `{"labels": […]}`, `{"value": …}` or `{"values": […]}`.

    Raises:
        ModelFailed: a number is NaN or infinite.
    """
    if isinstance(value, Ranking):
        return render_labels(value, context, first)
    rows = value.reshape(len(value), -1)
    items: list[dict[str, Any]] = []
    for at, row in enumerate(rows):
        if rows.dtype.kind == "f":
            check_finite(row, first + at, "value")
        cells = [_cell(cell) for cell in row.tolist()]
        items.append({"value": cells[0]} if len(cells) == 1 else {"values": cells})
    return Results(items)


def _cell(cell: Any) -> Any:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def _column_count(spec: TensorSpec) -> int | None:
    """How many columns an input takes; None when the file does not say, or it takes no rows."""
    if len(spec.shape) == 1:
        return 1
    if len(spec.shape) != 2 or spec.shape[1] == DYNAMIC:
        return None
    return spec.shape[1]


def _columns(spec: TensorSpec, count: int, *, is_only: bool) -> list[dict[str, Any]]:
    kind = _kind(spec.datatype)
    if count == 1 and not is_only:
        return [{"name": spec.name, "type": kind, "input": spec.name}]
    prefix = "f" if is_only else f"{spec.name}_"
    return [{"name": f"{prefix}{at}", "type": kind, "input": spec.name} for at in range(count)]


def _kind(datatype: Datatype) -> Kind:
    if datatype in FLOATS | {Datatype.BF16}:
        return "number"
    words: dict[Datatype, Kind] = {Datatype.BYTES: "text", Datatype.BOOL: "boolean"}
    return words.get(datatype, "integer")


def _output(facts: ModelFacts) -> TensorSpec | None:
    """The output that is the answer, if the file tells."""
    outputs = [spec for spec in facts.signature.outputs if len(spec.shape) <= 2]
    likely = [spec for spec in outputs if "prob" in spec.name.lower()]
    found = likely if len(likely) == 1 else outputs
    return found[0] if len(found) == 1 else None


def check_files(document: ManifestDocument, facts: ModelFacts) -> None:
    """Refuse a file of background rows that is none.

    Raises:
        ManifestInvalid: it is none; points at it.
    """
    file = facts.files.get(BACKGROUND_ROLE)
    if file is not None:
        try:
            read_background(file)
        except ManifestInvalid as error:
            raise document.invalid(error.message, f"files.{BACKGROUND_ROLE}") from None


_VALUE: dict[str, Any] = {"type": ["number", "string", "boolean"]}
TASK = Task(
    name=NAME,
    summary="Predicts a class, or numbers, for a row of a table.",
    formats=frozenset({"onnx"}),
    recognise=recognise,
    default_pre=default_pre,
    default_post=default_post,
    check_files=check_files,
    form=ItemForm(
        item={
            "type": "object",
            "properties": {
                "row": {
                    "type": ["object", "array"],
                    "description": "Cells by the columns' names, or in the columns' order.",
                }
            },
            "required": ["row"],
            "additionalProperties": False,
        },
        options={"top_k": TOP_K, "min_score": MIN_SCORE},
        result={
            "type": "object",
            "description": "One of these, as the version's last step has it.",
            "properties": {
                "labels": LABELS["properties"]["labels"],
                "value": _VALUE,
                "values": {"type": "array", "items": _VALUE},
            },
        },
        ends_in=(Stage.RANKING, Stage.TENSOR),
        hint="End it in 'output: NAME' or 'top_k'.",
        render=render,
        count=count_rows,
    ),
)
