"""Why one answer came out, and how that is wished for beside a question."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelry.client.decoding import decode
from modelry.client.errors import InvalidInput
from modelry.client.explanation_pages import html_of, page_of

Row = Mapping[str, Any] | Sequence[Any]
"""Cells by column name, or in the model's order."""


@dataclass(frozen=True, slots=True)
class ExplanationProgress:
    """How far an explanation is.

    Attributes:
        phase: what is done, `explaining` or `checking`.
        calls: of the model, in this phase.
        most_calls: of this phase, at most; None as long as that is not known.
    """

    phase: str
    calls: int
    most_calls: int | None = None


OnProgress = Callable[[ExplanationProgress], None]
Explain = bool | Mapping[str, Any]
"""Whether an answer is explained, too; or wishes by their names, as `client.explain` takes them:
`{"method": "shapley", "checks": False}`."""


@dataclass(frozen=True, slots=True)
class ExplainedTarget:
    """What is explained: a class, or the number that the model gives, and its score.

    Of an object in an image `index` is its place in the answer, and `box` tells where it is.
    """

    index: int
    score: float
    label: str | None = None
    box: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one answer came out.

    `attribution` has the weights in the input's own terms: `grid` and `regions` (boxes in pixels)
    of an image, `objects` with such a map each, `words` with their places in characters, `columns`,
    or `segments` of a conversation; of a written answer also its tokens (`output`) and what each of
    them loses without each part (`matrix`). `faithfulness` compares them with random ones: where
    `is_better_than_random` is false they are not to be relied on; it is None where no checks were
    asked. `picture` is a PNG of an image with what spoke for and against the target, empty where
    none was asked. A notebook shows all of it as a small page.
    """

    model: str
    version: int
    method: str
    target: ExplainedTarget
    attribution: Mapping[str, Any]
    sentence: str
    baseline: str = ""
    interval: tuple[float, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    faithfulness: Mapping[str, Any] | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)
    picture: bytes = b""

    def save(self, path: str | Path) -> Path:
        """Write it to a file: .png is the picture, .html what a notebook shows, .json all of it.

        Raises:
            InvalidInput: another kind of file, or there is no picture.
        """
        file = Path(path)
        match file.suffix.lower():
            case ".png" if self.picture:
                file.write_bytes(self.picture)
            case ".html":
                file.write_text(page_of(self), "utf-8")
            case ".json":
                file.write_text(json.dumps(as_json(self), indent=2, ensure_ascii=False), "utf-8")
            case ".png":
                raise InvalidInput("There is no picture; ask for one of an image.", param="path")
            case other:
                raise InvalidInput(
                    f"Files of the kind '{other[:20]}' cannot be written; write .png, .html or "
                    ".json.",
                    param="path",
                )
        return file

    def _repr_png_(self) -> bytes | None:
        return self.picture or None

    def _repr_html_(self) -> str:
        return html_of(self)

    def __str__(self) -> str:
        return self.sentence


def decode_explanation(answer: Mapping[str, Any]) -> Explanation:
    """The explanation that a server told.

    Raises:
        UnexpectedAnswer: it is none.
    """
    return decode(Explanation, with_picture(answer))


def with_picture(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a server told, with its picture as bytes."""
    drawn = answer.get("picture")
    return {**answer, "picture": base64.b64decode(drawn) if drawn else b""}


def as_json(found: Explanation) -> dict[str, Any]:
    """An explanation as its JSON."""
    told = asdict(found)
    return {**told, "picture": base64.b64encode(found.picture).decode() or None}


def as_sent(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Wishes as JSON types, without those that are None."""
    sent = {name: value for name, value in wishes.items() if value is not None}
    if "target" in sent:
        sent["target"] = str(sent["target"])
    if "background" in sent:
        sent["background"] = [cells(row) for row in sent["background"]]
    if "goal" in sent:
        sent["goal"] = dict(sent["goal"])
    if "changeable" in sent:
        rules = sent["changeable"]
        named = rules if isinstance(rules, Mapping) else dict.fromkeys(rules, True)
        sent["changeable"] = dict(named)
    return sent


def explain_as_sent(explain: Explain) -> bool | dict[str, Any] | None:
    """What a typed door is told of it; None where nothing is to be explained."""
    if isinstance(explain, bool):
        return explain or None
    return as_sent(explain)


def cells(row: Row) -> Any:
    """A row as JSON has it."""
    return dict(row) if isinstance(row, Mapping) else list(row)
