"""A `tokenizer.json` loaded: text to token ids, without any policy of its own.

Truncation and padding that the file declares are taken off: the step that uses this has its
own, explicit ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tokenizers import Encoding, Tokenizer

from modelry.processing.parameters import Unfit

MAX_FILE_BYTES = 64 * 2**20
_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")
_MASK_TOKENS = ("[MASK]", "<mask>")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """The tokens of one item: ids, and for each whether it is of the first or second text."""

    ids: Sequence[int]
    types: Sequence[int]


@dataclass(frozen=True, slots=True)
class Padding:
    """What fills rows up, and on which side."""

    token_id: int = 0
    type_id: int = 0
    on_left: bool = False


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Encodes text and completes given token ids. Safe to use from many threads.

    `prefix` and `suffix` are the special tokens around a single text.
    """

    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    padding: Padding
    declared_max_length: int | None

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this."""
        return int(self.tokenizer.get_vocab_size())

    def special_count(self, *, pair: bool) -> int:
        """How many special tokens are added to a text, or to a pair of texts."""
        return int(self.tokenizer.num_special_tokens_to_add(pair))

    def truncate_to(self, length: int) -> None:
        """Cut texts to `length` tokens from now on, pairs from the longer text first.

        Raises:
            Unfit: not even the special tokens fit.
        """
        least = max(self.special_count(pair=True), len(self.prefix) + len(self.suffix)) + 1
        if length < least:
            raise Unfit(f"'max_length' is {length}; this tokenizer needs at least {least}.")
        self.tokenizer.enable_truncation(length)

    def encode(self, texts: Sequence[str | tuple[str, str]]) -> list[TokenRow]:
        """The tokens of texts and pairs of texts, special tokens included."""
        return [
            TokenRow(encoding.ids, encoding.type_ids)
            for encoding in _guarded(lambda: self.tokenizer.encode_batch_fast(list(texts)))
        ]

    def places(self, text: str | tuple[str, str]) -> list[tuple[int, int] | None]:
        """For each token where in the first text it is, in characters: from, and up to.

        None for special tokens, and for those of the second text.
        """
        texts = (text,) if isinstance(text, str) else text
        encoding: Encoding = _guarded(lambda: self.tokenizer.encode(*texts))
        pairs = zip(encoding.offsets, encoding.sequence_ids, strict=True)
        return [(begin, end) if which == 0 else None for (begin, end), which in pairs]

    def stand_in(self) -> int:
        """The token that says nothing: the mask, where there is one, or what fills rows up."""
        known = (self.tokenizer.token_to_id(token) for token in _MASK_TOKENS)
        return int(next((one for one in known if one is not None), self.padding.token_id))

    def complete(self, ids: Sequence[int], length: int | None) -> TokenRow:
        """Given token ids with the special tokens around them, unless they have them already.

        Args:
            ids: as the caller's tokenizer made them.
            length: cut the text's own tokens so that all together are at most this many.
        """
        inner = list(ids)
        head, tail = list(self.prefix), list(self.suffix)
        is_complete = (
            len(inner) >= len(head) + len(tail)
            and inner[: len(head)] == head
            and inner[len(inner) - len(tail) :] == tail
        )
        if is_complete:
            inner = inner[len(head) : len(inner) - len(tail)]
        if length is not None:
            inner = inner[: length - len(head) - len(tail)]
        whole = head + inner + tail
        return TokenRow(whole, [0] * len(whole))


def load_text_encoder(path: Path) -> TextEncoder:
    """Load a `tokenizer.json`.

    Raises:
        Unfit: it is none, or too large.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise Unfit(f"files.tokenizer has {size} bytes; at most {MAX_FILE_BYTES} are accepted.")
    content = path.read_bytes()
    tokenizer = _guarded(lambda: Tokenizer.from_buffer(content))
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.no_truncation()
    tokenizer.no_padding()
    prefix, suffix = _around(tokenizer)
    return TextEncoder(
        tokenizer,
        prefix,
        suffix,
        _padding(tokenizer, padding),
        None if truncation is None else int(truncation["max_length"]),
    )


def _guarded(call: Callable[[], _T]) -> _T:
    """Run the tokenizer; whatever it breaks with is the file's fault.

    Its errors are bare `Exception`s, and panics of its Rust code are not even those.
    """
    try:
        return call()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise Unfit(
            f"files.tokenizer cannot be used as a tokenizer.json of the tokenizers library: "
            f"{reason}."
        ) from None


def _around(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens before and after a single text."""
    probe: Encoding = _guarded(lambda: tokenizer.encode("a"))
    special = list(probe.special_tokens_mask)
    if 0 not in special:
        return (), ()
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return tuple(probe.ids[:first]), tuple(probe.ids[last:])


def _padding(tokenizer: Tokenizer, declared: dict[str, object] | None) -> Padding:
    if declared is not None:
        return Padding(
            int(str(declared["pad_id"])),
            int(str(declared["pad_type_id"])),
            declared["direction"] == "left",
        )
    known = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    return Padding(next((found for found in known if found is not None), 0))
