"""Explanations by SHAP itself: `python shap_answers.py THREADS`, questions on stdin."""

from typing import Any

import numpy as np
import shap
from answering import Answer, Arrays, Model, Question, Texts, serve, timed

AS_DELIVERED = 0
"""Instead of how many inputs at once, for explainers that know no such thing."""


def kernel_of_row(model: Model, question: Question, arrays: Arrays) -> Answer:
    """KernelExplainer on a row, away parts being those of background rows."""
    explainer = shap.KernelExplainer(model.of_array(question), arrays["background"])
    return timed(
        model,
        lambda: explainer.shap_values(arrays["row"], silent=True, **_limits(question)),
    )


def _limits(question: Question) -> dict[str, Any]:
    """As many calls as are asked for, and no weights made 0; or as delivered."""
    if question["batch"] == AS_DELIVERED:
        return {}
    return {"nsamples": question["calls"], "l1_reg": False}


def exact_of_row(model: Model, question: Question, arrays: Arrays) -> Answer:
    """ExactExplainer on a row."""
    background = arrays["background"]
    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.explainers.Exact(model.of_array(question), masker)
    return timed(model, lambda: explainer(arrays["row"][None], silent=True).values)


def kernel_of_text(model: Model, question: Question, arrays: Arrays) -> Answer:
    """KernelExplainer on which words there are."""
    del arrays
    texts = Texts(model, question)
    count = len(question["words"])
    explainer = shap.KernelExplainer(texts.of_presences, np.zeros((1, count)))
    return timed(
        model,
        lambda: explainer.shap_values(np.ones(count), silent=True, **_limits(question)),
    )


if __name__ == "__main__":
    serve(
        {
            "exact of row": exact_of_row,
            "kernel of row": kernel_of_row,
            "kernel of text": kernel_of_text,
        }
    )
