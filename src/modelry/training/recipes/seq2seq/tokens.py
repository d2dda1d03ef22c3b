"""A vocabulary learnt from the rows, and the rows in its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.tensors import Array

PAD, START, END = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, START, END)
MOST_TOKENS = 2**27
"""Of all rows together that are kept in memory, as 32-bit numbers: 512 MiB."""


def learnt_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level byte-pair tokenizer of at most `vocabulary` tokens, which knows every text.

    Words are cut at bytes and put together again by how often pieces meet (Sennrich et al.,
    2016), so that no character is unknown. Texts are composed (NFC) first, and end in `</s>`.
    """
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, SPECIAL.index(END))]
    )
    return made


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the tokens that stand for no text."""

    pad: int
    start: int
    end: int


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """Those of a tokenizer that `learnt_tokenizer` made, where they come first."""
    pad, start, end = (tokenizer.token_to_id(one) for one in SPECIAL)
    assert pad is not None
    assert start is not None
    assert end is not None
    return SpecialTokens(pad, start, end)


def write_tokenizer(tokenizer: Tokenizer, file: Path) -> None:
    """Write its `tokenizer.json`."""
    file.write_text(tokenizer.to_str(), "utf-8")


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Sequences of token ids of many rows in one array.

    Attributes:
        ids: int32, row after row.
        starts: where each row begins, and the end of the last one.
    """

    ids: Array
    starts: Array

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, at: int) -> Array:
        found: Array = self.ids[self.starts[at] : self.starts[at + 1]]
        return found

    @property
    def lengths(self) -> Array:
        """Tokens of each row."""
        return np.diff(self.starts)


def token_rows(
    tokenizer: Tokenizer, texts: Iterable[Sequence[str]], most_tokens: int = MOST_TOKENS
) -> TokenRows:
    """Rows in tokens, each with its end token.

    Args:
        tokenizer: makes the tokens.
        texts: some rows at a time.
        most_tokens: that are kept.

    Raises:
        InvalidInput: there are more.
    """
    parts: list[Array] = []
    lengths: list[int] = [0]
    total = 0
    for some in texts:
        for encoding in tokenizer.encode_batch_fast(list(some)):
            parts.append(np.array(encoding.ids, np.int32))
            lengths.append(len(encoding.ids))
            total += len(encoding.ids)
        if total > most_tokens:
            raise InvalidInput(
                f"The rows have more than {most_tokens} tokens, which is what fits in memory; "
                "derive a version with fewer rows."
            )
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return TokenRows(ids, np.cumsum(lengths))


def flattened(texts: Iterable[Sequence[str]]) -> Iterator[str]:
    """Texts one by one."""
    for some in texts:
        yield from some
