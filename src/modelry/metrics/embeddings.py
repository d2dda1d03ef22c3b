"""How well vectors of words tell what words mean: nearest words, analogies.

Source: Mikolov et al., "Efficient Estimation of Word Representations in Vector Space", 2013.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_QUESTIONS_AT_ONCE = 256


def unit(vectors: Floats) -> Floats:
    """Vectors (v, d) at length 1; those of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return scaled


def nearest(vectors: Floats, word: int, count: int) -> list[tuple[int, float]]:
    """The words whose vectors point most nearly the same way, nearest first, without itself.

    Args:
        vectors: (v, d) of all words, at length 1.
        word: its number.
        count: how many.

    Returns:
        Numbers of words, and the cosine of the angle to each.
    """
    cosines = vectors @ vectors[word]
    cosines[word] = -np.inf
    order = np.argsort(-cosines, kind="stable")[:count]
    return [(int(at), float(cosines[at])) for at in order if np.isfinite(cosines[at])]


def analogy_accuracy(vectors: Floats, questions: Integers) -> float | None:
    """The share of analogies that are solved: a is to b as c is to the word nearest to b - a + c.

    Args:
        vectors: (v, d) of all words, at length 1.
        questions: (q, 4) numbers of words a, b, c and the right answer. The three words of a
            question are no answers.

    Returns:
        0 to 1; None without questions.
    """
    solved = 0
    for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
        asked = questions[start : start + _QUESTIONS_AT_ONCE]
        a, b, c = (vectors[asked[:, at]] for at in range(3))
        cosines = (b - a + c) @ vectors.T
        np.put_along_axis(cosines, asked[:, :3], -np.inf, axis=1)
        solved += int((cosines.argmax(axis=1) == asked[:, 3]).sum())
    return solved / len(questions) if len(questions) else None
