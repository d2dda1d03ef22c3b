"""The default steps after models that score classes."""

from __future__ import annotations

from typing import Any

from modelry.domain.signature import TensorSpec
from modelry.manifest.document import ManifestDocument
from modelry.tasks.contract import DefaultSteps, ModelFacts
from modelry.tasks.signature_reading import ClassScores, class_scores, flat_outputs, name_list

_SCORE_NAMES = ("probabilities", "output_probability", "logits", "scores")


def scores_output(document: ManifestDocument, facts: ModelFacts) -> TensorSpec:
    """The output that scores classes.

    Raises:
        ManifestInvalid: none, or no saying which.
    """
    candidates = flat_outputs(facts.signature)
    named = [spec for name in _SCORE_NAMES for spec in candidates if spec.name == name]
    found = named[:1] or candidates
    if len(found) == 1:
        return found[0]
    raise document.invalid(
        f"The model's outputs are {name_list(facts.signature.outputs)}; the task "
        f"'{document.task}' cannot tell which of them scores the classes (one row of floats per "
        "item). Declare 'post', for example: [output: NAME, softmax, top_k: 5].",
        "post",
    )


def class_steps(document: ManifestDocument, facts: ModelFacts, most: int) -> DefaultSteps:
    """Scores to probabilities where they are not, then the best `most`.

    Raises:
        ManifestInvalid: it cannot be told which output scores the classes.
    """
    return steps_on(facts, class_scores(facts, scores_output(document, facts)), most)


def steps_on(facts: ModelFacts, scores: ClassScores, most: int) -> DefaultSteps:
    """The steps on a known output: scores to probabilities where they are not, the best `most`."""
    steps: list[Any] = [{"output": scores.name}] if len(facts.signature.outputs) > 1 else []
    activation, note = _activation(scores)
    steps += [activation] if activation else []
    steps.append({"top_k": most if scores.count is None else min(most, scores.count)})
    return DefaultSteps(steps, (note,))


def _activation(scores: ClassScores) -> tuple[str | None, str]:
    if scores.are_probabilities:
        return None, f"scores are taken as probabilities: {scores.why}"
    if scores.count == 1:
        return "sigmoid", f"one score is squashed to 0..1 by a sigmoid: {scores.why}"
    return "softmax", f"scores are taken as logits: {scores.why}"
