"""Text classification: a text or a pair of texts goes in, the likeliest classes come out.

Cross-encoders, which score how well a pair fits, are text classification with one class.
"""

from __future__ import annotations

from modelry.manifest.document import ManifestDocument
from modelry.processing.values import Stage
from modelry.tasks.class_steps import class_steps
from modelry.tasks.contract import DefaultSteps, ItemForm, ModelFacts, Recognition, Task
from modelry.tasks.rendering import LABELS, MIN_SCORE, TOP_K, count_tokens, render_labels
from modelry.tasks.signature_reading import flat_outputs, text_inputs
from modelry.tasks.text_steps import TEXT_ITEM, gives_vectors, tokenize_steps

NAME = "text-classification"


def recognise(facts: ModelFacts) -> Recognition | None:
    """Models with token ids in and one row of scores out; sure when a tokenizer is there."""
    outputs = flat_outputs(facts.signature)
    if text_inputs(facts.signature) is None or len(outputs) != 1 or gives_vectors(facts):
        return None
    notes = (
        "input 'input_ids' takes token ids",
        f"output '{outputs[0].name}' has one score per class",
    )
    if "tokenizer" in facts.files:
        return Recognition(NAME, 0.85, notes)
    return Recognition(NAME, 0.2, (*notes, "it needs a tokenizer: name it in files.tokenizer"))


def default_post(document: ManifestDocument, facts: ModelFacts) -> DefaultSteps:
    """Scores to probabilities where they are not, then the best five."""
    return class_steps(document, facts, 5)


TASK = Task(
    name=NAME,
    summary="Says which classes a text, or a pair of texts, most likely belongs to.",
    counts_tokens=True,
    formats=frozenset({"onnx"}),
    recognise=recognise,
    default_pre=tokenize_steps,
    default_post=default_post,
    form=ItemForm(
        item=TEXT_ITEM,
        options={"top_k": TOP_K, "min_score": MIN_SCORE},
        result=LABELS,
        ends_in=(Stage.RANKING,),
        hint="End it in 'top_k'.",
        render=render_labels,
        count=count_tokens,
    ),
)
