"""The description of a sequence-to-sequence model: the main file of a version of one.

It is a small JSON file beside two ONNX graphs, an encoder and a step decoder, and a tokenizer.
What the graphs take and give is told in `docs/reference/sequence-models.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from modelry.domain.errors import InvalidInput

FORMAT = "modelry-seq2seq"
FORMAT_VERSION = 1
ENCODER_ROLE = "encoder"
DECODER_ROLE = "decoder"
TOKENIZER_ROLE = "tokenizer"
MAX_WORDS = 64
_SPECIAL = ("pad", "start", "end")


@dataclass(frozen=True, slots=True)
class SequenceModel:
    """What has to be known of the graphs to run them.

    Attributes:
        vocabulary: token ids are below this.
        pad, start, end: ids of the special tokens: fills rows up, begins and ends an answer.
        layers, heads, head_size: of the decoder: the shape of its caches.
        source_tokens: that a text may have, its end token included.
        target_tokens: that an answer may have, its end token included; at least 2.
        task: what it was trained for.
        source_language, target_language: in words or codes, where that means something.
        copies: whether the decoder may write tokens of the text as they are, for which it looks
            at two more of the encoder's outputs.
    """

    vocabulary: int
    pad: int
    start: int
    end: int
    layers: int
    heads: int
    head_size: int
    source_tokens: int
    target_tokens: int
    task: str = ""
    source_language: str = ""
    target_language: str = ""
    copies: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **told}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SequenceModel:
        """The description that a file holds; further keys are left out.

        Raises:
            InvalidInput: of another version of the format, or a value that cannot be.
        """
        version = document.get("format_version")
        if document.get("format") != FORMAT or version != FORMAT_VERSION:
            raise InvalidInput(
                f"its 'format' is {document.get('format')!r:.80} in version {version!r:.20}; "
                f"expected '{FORMAT}' in version {FORMAT_VERSION}.",
                param="format",
            )
        vocabulary = _whole(document, "vocabulary", 2, 2**24)
        pad, start, end = (_whole(document, one, 0, vocabulary - 1) for one in _SPECIAL)
        if len({pad, start, end}) < len(_SPECIAL):
            raise InvalidInput("'pad', 'start' and 'end' must be different tokens.", param="end")
        return cls(
            vocabulary=vocabulary,
            pad=pad,
            start=start,
            end=end,
            layers=_whole(document, "layers", 1, 256),
            heads=_whole(document, "heads", 1, 1024),
            head_size=_whole(document, "head_size", 1, 4096),
            source_tokens=_whole(document, "source_tokens", 2, 2**20),
            target_tokens=_whole(document, "target_tokens", 2, 2**20),
            task=_word(document, "task"),
            source_language=_word(document, "source_language"),
            target_language=_word(document, "target_language"),
            copies=_truth(document, "copies"),
        )


def _whole(document: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = document.get(name)
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(
            f"its '{name}' is {value!r:.80}; expected a whole number from {low} to {high}.",
            param=name,
        )
    return value


def _truth(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"its '{name}' is {value!r:.80}; expected true or false.", param=name)
    return value


def _word(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_WORDS or not value.isprintable():
        raise InvalidInput(
            f"its '{name}' is {value!r:.80}; expected up to {MAX_WORDS} printable characters.",
            param=name,
        )
    return value
