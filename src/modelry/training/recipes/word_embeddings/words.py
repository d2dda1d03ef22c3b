"""Which words texts are made of: the tokenizer that training and serving share.

A word is what letters, digits and underscores make together, with apostrophes and hyphens between
them. The same `tokenizer.json` cuts texts when they are learnt from and when they are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFC, Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Split

UNKNOWN = "[UNK]"
UNKNOWN_ID = 0
"""Also of padding; its vector is 0, so that it adds nothing to a mean."""
WORD = r"\w+(?:['\u2019-]\w+)*"


class Cutter:
    """Cuts texts into words.

    Args:
        lowercase: whether upper and lower case are the same.
    """

    def __init__(self, *, lowercase: bool) -> None:
        self._normalizer = Normalizers([NFC(), Lowercase()] if lowercase else [NFC()])
        self._split = Split(Regex(WORD), behavior="removed", invert=True)

    def words(self, text: str) -> list[str]:
        """The words of a text, in order."""
        normal = self._normalizer.normalize_str(text)
        return [word for word, _ in self._split.pre_tokenize_str(normal)]

    def save(self, vocabulary: Sequence[str], file: Path) -> None:
        """Write a `tokenizer.json` in which word i of the vocabulary has the id i + 1."""
        ids = {UNKNOWN: UNKNOWN_ID, **{word: at for at, word in enumerate(vocabulary, 1)}}
        tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
        tokenizer.normalizer = self._normalizer
        tokenizer.pre_tokenizer = self._split
        tokenizer.enable_padding(pad_id=UNKNOWN_ID, pad_token=UNKNOWN)
        tokenizer.save(str(file))
