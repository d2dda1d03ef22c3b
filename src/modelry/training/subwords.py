"""A vocabulary of subwords, learnt from the rows that the model learns from.

Byte-pair encoding (Sennrich et al., 2016) over the bytes of UTF-8, as GPT-2 does it: every text has
tokens, none is unknown. Written as the `tokenizer.json` that the step `tokenize` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

PADDING, START, SEPARATOR = "[PAD]", "[CLS]", "[SEP]"
SPECIAL = (PADDING, START, SEPARATOR)
BYTES = 256
LEAST_SIZE = BYTES + len(SPECIAL)
"""Every byte and the special tokens."""
MIN_OCCURRENCES = 2
LONGEST_WORD = 64
"""Longer runs of letters, or of spaces, are not learnt from: that takes time that grows with the
square of their length, and one row with a million letters and no space would be no end of it."""

_TOO_LONG = re.compile(rf"\S{{{LONGEST_WORD + 1},}}|\s{{{LONGEST_WORD + 1},}}")


def learn_subwords(texts: Iterable[str], size: int, file: Path, *, lowercase: bool) -> Tokenizer:
    """Learn a vocabulary and write it. The same texts in the same order give the same file.

    Args:
        texts: what to learn from.
        size: how many tokens there may be; fewer when the texts do not have so many.
        file: where to write it.
        lowercase: whether capitals are read as small letters.

    Returns:
        The tokenizer. `[PAD]` is token 0; `[CLS]` is put before every text, so that the empty
        text has a token too, and `[SEP]` between the two of a pair.
    """
    tokenizer = Tokenizer(models.BPE())
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(size, LEAST_SIZE),
        min_frequency=MIN_OCCURRENCES,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_TOO_LONG.sub(" ", text) for text in texts), trainer)
    start, separator = (tokenizer.token_to_id(one) for one in (START, SEPARATOR))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A",
        pair=f"{START} $A {SEPARATOR} $B:1",
        special_tokens=[(START, start), (SEPARATOR, separator)],
    )
    tokenizer.save(str(file))
    return tokenizer
