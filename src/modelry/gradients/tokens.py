"""From what tokens did to what words did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelry.gradients.twin import no_twin
from modelry.processing.text_encoder import TextEncoder
from modelry.runtime_api.tensors import Array

Place = tuple[int, int] | None


def places_of(
    encoder: TextEncoder, text: str | tuple[str, str], mask: Array
) -> tuple[list[int], list[Place]]:
    """Columns of the engine's inputs with tokens, and where each is in the (first) text.

    Args:
        encoder: the version's tokenizer.
        text: or both texts.
        mask: of the columns (width,), true at tokens.
    """
    columns = np.flatnonzero(mask).tolist()
    places = encoder.places(text)
    if len(places) > len(columns):  # the version cuts long texts
        encoder.truncate_to(len(columns))
        places = encoder.places(text)
    if len(places) != len(columns):
        raise no_twin("its tokenizer does not tell where its tokens are in the text.")
    return columns, places


def by_column(shares: Array, width: int) -> Array:
    """Shares of looked up vectors (1, columns, size) by column of the input (width,).

    Vectors of pairs of neighbours, of which there is one fewer, count half for each.
    """
    found = np.zeros(width)
    sums = shares.sum(axis=-1).reshape(-1)
    if shares.ndim == 3 and len(sums) == width:
        found += sums
    elif shares.ndim == 3 and len(sums) == width - 1:
        found[:-1] += sums / 2
        found[1:] += sums / 2
    else:
        raise no_twin(f"it looks up {len(sums)} vectors for {width} tokens.")
    return found


def by_word(
    shares: Array,
    columns: Sequence[int],
    places: Sequence[Place],
    words: Sequence[tuple[int, int]],
) -> Array:
    """What each word did (words,): what its tokens did, of shared ones as much as is its own."""
    found = np.zeros(len(words))
    for column, place in zip(columns, places, strict=True):
        if place is None:
            continue
        begin, end = place
        common = np.array([max(0, min(end, b) - max(begin, a)) for a, b in words], np.float64)
        if common.sum() == 0:  # white space counts for the word that it comes before
            after = [at for at, (a, _) in enumerate(words) if a >= begin]
            common[after[0] if after else -1] = 1
        found += shares[column] * common / common.sum()
    return found
