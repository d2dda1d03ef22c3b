"""How close written texts are to reference texts.

chrF and BLEU are those of sacrebleu, so that figures compare with published ones; ROUGE is
computed here. All scores are from 0 to 100, of the whole corpus for chrF and BLEU, the mean over
texts for ROUGE.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from modelry.domain.errors import InvalidInput, NotSupported

_WORD = re.compile(r"\w+")


def chrf(written: Sequence[str], references: Sequence[str]) -> float:
    """chrF: F-score (beta 2) of character n-grams up to 6 (Popović, 2015).

    Raises:
        InvalidInput: not as many texts as references, or none.
        NotSupported: sacrebleu is not installed.
    """
    _check(written, references)
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise _missing() from None
    return float(CHRF().corpus_score(list(written), [list(references)]).score)


def bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """BLEU: precision of word n-grams up to 4, with a penalty for short texts (Papineni, 2002).

    Words are cut as sacrebleu's tokenizer `13a` does; smoothed exponentially.

    Raises:
        InvalidInput: not as many texts as references, or none.
        NotSupported: sacrebleu is not installed.
    """
    _check(written, references)
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise _missing() from None
    return float(BLEU().corpus_score(list(written), [list(references)]).score)


def rouge_n(written: Sequence[str], references: Sequence[str], n: int = 1) -> float:
    """ROUGE-N: mean F-score of word n-grams (Lin, 2004), without stemming, in lower case.

    Raises:
        InvalidInput: not as many texts as references, or none; or `n` below 1.
    """
    _check(written, references)
    if n < 1:
        raise InvalidInput(f"n is {n}; expected 1 or more.", param="n")
    return _mean([_overlap(_ngrams(_words(ours), n), _ngrams(_words(theirs), n))
                  for ours, theirs in zip(written, references, strict=True)])  # fmt: skip


def rouge_l(written: Sequence[str], references: Sequence[str]) -> float:
    """ROUGE-L: mean F-score of the longest common subsequence of words (Lin, 2004), in lower case.

    Raises:
        InvalidInput: not as many texts as references, or none.
    """
    _check(written, references)
    return _mean([_subsequence(_words(ours), _words(theirs))
                  for ours, theirs in zip(written, references, strict=True)])  # fmt: skip


def exact_matches(written: Sequence[str], references: Sequence[str]) -> float:
    """The share of texts that are just their reference, in percent.

    Raises:
        InvalidInput: not as many texts as references, or none.
    """
    _check(written, references)
    equal = [float(ours == theirs) for ours, theirs in zip(written, references, strict=True)]
    return 100 * _mean(equal)


def _check(written: Sequence[str], references: Sequence[str]) -> None:
    if len(written) != len(references) or not written:
        raise InvalidInput(
            f"There are {len(written)} texts and {len(references)} references; expected as many of "
            "each, one at least."
        )


def _missing() -> NotSupported:
    return NotSupported(
        "chrF and BLEU need sacrebleu, which is not installed: pip install 'modelry[train]'."
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def _overlap(ours: Counter[tuple[str, ...]], theirs: Counter[tuple[str, ...]]) -> float:
    """In percent; two texts without n-grams are alike."""
    return _f_score((ours & theirs).total(), ours.total(), theirs.total())


def _subsequence(ours: Sequence[str], theirs: Sequence[str]) -> float:
    before = [0] * (len(theirs) + 1)
    for word in ours:
        row = [0]
        for at, other in enumerate(theirs):
            row.append(before[at] + 1 if word == other else max(before[at + 1], row[at]))
        before = row
    return _f_score(before[-1], len(ours), len(theirs))


def _f_score(common: int, ours: int, theirs: int) -> float:
    if not ours and not theirs:
        return 100.0
    return 200 * common / (ours + theirs)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
