"""What is known of a file after its inspection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelry.domain.signature import NO_TENSORS, Signature


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file is and declares.

    `format` is `onnx`, `gguf`, `safetensors`, `keras`, `seq2seq` (the description of a sequence
    model), `tokenizer-json`, `json`, `text`, `weights` (the external data of an ONNX model), or
    the name of an added format. `metadata`
    are the file's own words, cut to bounded length: whoever made the file chose them, so they
    are shown, never obeyed. `companions` are names of further files that this one cannot do
    without.
    """

    format: str
    size_bytes: int
    signature: Signature = NO_TENSORS
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
