"""Text to text: a whole text goes in, a whole text comes out (translation, summaries).

Options and results go over the wire to the worker as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput

MAX_BEAMS = 16
MAX_TOKENS = 4096
MAX_LENGTH_PENALTY = 4.0


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How texts are written; None means the version's default.

    Attributes:
        beams: how many candidates are followed at once; 1 takes the likeliest token each time.
        max_tokens: of an answer, at most.
        length_penalty: the power of an answer's length that its log-probability is divided by:
            0 favours short answers, larger values longer ones.
    """

    beams: int | None = None
    max_tokens: int | None = None
    length_penalty: float | None = None

    def over(self, defaults: TextOptions) -> TextOptions:
        """These options, and `defaults` where they leave something open."""
        return TextOptions(
            defaults.beams if self.beams is None else self.beams,
            defaults.max_tokens if self.max_tokens is None else self.max_tokens,
            defaults.length_penalty if self.length_penalty is None else self.length_penalty,
        )

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> TextOptions:
        """The options of a request, or the defaults of a manifest.

        Raises:
            InvalidInput: an unknown name, or a value that it does not take.
        """
        for name in wire:
            if name not in ("beams", "max_tokens", "length_penalty"):
                raise InvalidInput(
                    f"'{name[:80]}' is not an option here; options are: beams, max_tokens, "
                    "length_penalty.",
                    param=name[:80],
                )
        return cls(
            _whole(wire, "beams", MAX_BEAMS),
            _whole(wire, "max_tokens", MAX_TOKENS),
            _penalty(wire),
        )


@dataclass(frozen=True, slots=True)
class WrittenText:
    """An answer.

    Attributes:
        text: the answer.
        score: mean log-probability of its tokens, at most 0.
        is_complete: whether the model ended it itself; False when it was cut at `max_tokens`.
        input_tokens: that the text took.
        output_tokens: of the answer.
    """

    text: str
    score: float
    is_complete: bool
    input_tokens: int
    output_tokens: int


def _whole(wire: Mapping[str, Any], name: str, most: int) -> int | None:
    value = wire.get(name)
    if value is not None and (type(value) is not int or not 1 <= value <= most):
        raise InvalidInput(
            f"{name} is {value!r:.80}; expected a whole number from 1 to {most}.", param=name
        )
    return value


def _penalty(wire: Mapping[str, Any]) -> float | None:
    name = "length_penalty"
    value = wire.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= MAX_LENGTH_PENALTY:
        raise InvalidInput(
            f"{name} is {value!r:.80}; expected a number from 0 to {MAX_LENGTH_PENALTY}.",
            param=name,
        )
    return float(value)
