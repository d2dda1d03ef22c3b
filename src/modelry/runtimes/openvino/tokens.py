"""Tokens to and from text, and the chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import openvino_genai

from modelry.domain.errors import InvalidInput
from modelry.runtimes.engine_reasons import tell_reason

KEPT_MARKS = frozenset({b"<tool_call>", b"</tool_call>"})
"""Marks that readers look for, kept although tokenisers count them as special."""
_PROBE = "modelry-probe"


class TokenBook:
    """What a tokeniser knows, with the bytes of every token at hand."""

    def __init__(self, tokenizer: openvino_genai.Tokenizer) -> None:
        self._tokenizer = tokenizer
        raw: dict[bytes, int] = tokenizer.get_vocab()
        self._raw = [b""] * (max(raw.values()) + 1)
        for text, token in raw.items():
            self._raw[token] = text
        self._told = [b"" if is_mark else text for text, is_mark in self._with_marks()]

    def _with_marks(self) -> list[tuple[bytes, bool]]:
        """Every token's bytes, and whether answers leave it out (such as the end of a turn)."""
        told = self._tokenizer.decode([[token] for token in range(len(self._raw))])
        return [
            (text, not shown and _is_text(text) and text not in KEPT_MARKS)
            for text, shown in zip(self._raw, told, strict=True)
        ]

    def raw(self, token: int) -> bytes:
        """The bytes of `token`."""
        return self._raw[token] if token < len(self._raw) else b""

    def told(self, token: int) -> bytes:
        """What an answer shows of `token`."""
        return self._told[token] if token < len(self._told) else b""

    def encode(self, text: str, *, whole_prompt: bool) -> list[int]:
        """The tokens of `text`; `whole_prompt` adds those that open every prompt of the model."""
        tokens = self._tokenizer.encode(text, add_special_tokens=whole_prompt).input_ids
        found: list[int] = tokens.data[0].tolist()
        return found

    def render(self, messages: Sequence[dict[str, Any]]) -> str:
        """The conversation in the words of the model's chat template.

        Raises:
            InvalidInput: the template refuses it.
        """
        try:
            return str(
                self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)
            )
        except RuntimeError as error:
            raise InvalidInput(
                f"The chat template refused the request: {tell_reason(str(error))}",
                param="messages",
            ) from None

    def has_system_role(self) -> bool:
        """Whether the chat template tells system messages."""
        messages = [
            {"role": "system", "content": _PROBE},
            {"role": "user", "content": "Hello"},
        ]
        try:
            return _PROBE in self.render(messages)
        except InvalidInput:
            return False


def as_tensor(tokens: Sequence[int]) -> openvino.Tensor:
    """`tokens` as the pipeline takes them: int64 of shape (1, tokens)."""
    return openvino.Tensor(np.array([tokens], dtype=np.int64))


def _is_text(raw: bytes) -> bool:
    """Whether `raw` is whole characters: single bytes of one are shown as nothing, too."""
    try:
        return bool(raw.decode())
    except UnicodeDecodeError:
        return False
