"""Classification, detection, translation and summaries over the typed doors."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from modelry.client.decoding import decode_list
from modelry.client.errors import InvalidInput, UnexpectedAnswer
from modelry.client.exchange import Flow, Param, Request, send_json, work
from modelry.client.explained import Explain, Explanation, explain_as_sent, with_picture
from modelry.client.images import ImageInput, image_bytes, media_type
from modelry.client.operations.batches import IMAGES, ITEMS, gathered

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label, its index in the model's list, and how sure the model is (0 to 1)."""

    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Classification:
    """What one input is: labels, best first; and why, where that was asked."""

    labels: tuple[LabelScore, ...]
    explanation: Explanation | None = None

    @property
    def label(self) -> str:
        """The best label."""
        return self.labels[0].label if self.labels else ""

    @property
    def score(self) -> float:
        """The best label's score."""
        return self.labels[0].score if self.labels else 0.0


@dataclass(frozen=True, slots=True)
class DetectedObject:
    """An object; `box` is [left, top, right, bottom] in pixels of the image as it was sent."""

    label: str
    index: int
    score: float
    box: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects of one image, best first, and the image's size in pixels."""

    objects: tuple[DetectedObject, ...]
    width: int = 0
    height: int = 0
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A text that a model wrote for a text.

    `score` is the mean log-probability of its tokens (at most 0); `is_complete` is false where it
    was cut at the most tokens that an answer may have.
    """

    text: str
    score: float = 0.0
    is_complete: bool = True
    explanation: Explanation | None = None


def classify(
    model: str,
    *,
    image: ImageInput | None = None,
    text: str | None = None,
    top_k: int | None = None,
    explain: Explain = False,
) -> Flow[Classification]:
    """Tell what an image (path, bytes or PIL image) or a text is.

    Args:
        model: a deployment of the task image-classification or text-classification.
        image: the image; or
        text: the text.
        top_k: how many labels to tell.
        explain: also explain the answer: True, or wishes as for `explain`.
    """
    if (image is None) == (text is None):
        raise InvalidInput("Give either image or text.", param="image")
    options = {"model": model, "top_k": top_k}
    ask = Question("/v1/classify", Classification, options, explain=explain)
    if text is not None:
        return (yield from ask.text(text))
    assert image is not None
    return (yield from ask.image(image))


def classify_many(
    model: str,
    *,
    images: Sequence[ImageInput] | None = None,
    texts: Sequence[str] | None = None,
    top_k: int | None = None,
) -> Flow[list[Classification]]:
    """Tell what several images or texts are, in as few requests as they fit in."""
    if (images is None) == (texts is None):
        raise InvalidInput("Give either images or texts.", param="images")
    ask = Question("/v1/classify", Classification, {"model": model, "top_k": top_k})
    if texts is not None:
        return (yield from gathered(texts, ITEMS, ask.texts))
    return (yield from gathered(images or (), IMAGES, ask.images))


def detect(
    model: str,
    image: ImageInput,
    *,
    min_score: float | None = None,
    max_objects: int | None = None,
    explain: Explain = False,
) -> Flow[Detections]:
    """Find the objects of an image (path, bytes or PIL image).

    Args:
        model: a deployment of the task object-detection.
        image: the image.
        min_score: leave out what the model is less sure of (0 to 1).
        max_objects: tell at most so many.
        explain: also explain the answer: True, or wishes as for `explain`.
    """
    options = {"model": model, "min_score": min_score, "max_objects": max_objects}
    return (yield from Question("/v1/detect", Detections, options, explain=explain).image(image))


def detect_many(
    model: str,
    images: Sequence[ImageInput],
    *,
    min_score: float | None = None,
    max_objects: int | None = None,
) -> Flow[list[Detections]]:
    """Find the objects of several images, in as few requests as they fit in."""
    options = {"model": model, "min_score": min_score, "max_objects": max_objects}
    ask = Question("/v1/detect", Detections, options)
    return (yield from gathered(images, IMAGES, ask.images))


def translate(
    model: str,
    text: str,
    *,
    beams: int | None = None,
    max_tokens: int | None = None,
    length_penalty: float | None = None,
    explain: Explain = False,
) -> Flow[WrittenText]:
    """Translate a text.

    Args:
        model: a deployment of the task translation.
        text: the text.
        beams: how many candidates are followed at once; 1 is fastest.
        max_tokens: of the answer, at most.
        length_penalty: 0 favours short answers, larger values longer ones.
        explain: also explain the answer: True, or wishes as for `explain`.
    """
    options = _writing(model, beams, max_tokens, length_penalty)
    return (yield from Question("/v1/translate", WrittenText, options, explain=explain).text(text))


def translate_many(
    model: str,
    texts: Sequence[str],
    *,
    beams: int | None = None,
    max_tokens: int | None = None,
    length_penalty: float | None = None,
) -> Flow[list[WrittenText]]:
    """Translate several texts, in as few requests as they fit in; see `translate`."""
    options = _writing(model, beams, max_tokens, length_penalty)
    ask = Question("/v1/translate", WrittenText, options)
    return (yield from gathered(texts, ITEMS, ask.texts))


def summarize(
    model: str,
    text: str,
    *,
    beams: int | None = None,
    max_tokens: int | None = None,
    length_penalty: float | None = None,
    explain: Explain = False,
) -> Flow[WrittenText]:
    """Summarize a text.

    Args:
        model: a deployment of the task summarization.
        text: the text.
        beams: how many candidates are followed at once; 1 is fastest.
        max_tokens: of the answer, at most.
        length_penalty: 0 favours short answers, larger values longer ones.
        explain: also explain the answer: True, or wishes as for `explain`.
    """
    options = _writing(model, beams, max_tokens, length_penalty)
    return (yield from Question("/v1/summarize", WrittenText, options, explain=explain).text(text))


def summarize_many(
    model: str,
    texts: Sequence[str],
    *,
    beams: int | None = None,
    max_tokens: int | None = None,
    length_penalty: float | None = None,
) -> Flow[list[WrittenText]]:
    """Summarize several texts, in as few requests as they fit in; see `summarize`."""
    options = _writing(model, beams, max_tokens, length_penalty)
    ask = Question("/v1/summarize", WrittenText, options)
    return (yield from gathered(texts, ITEMS, ask.texts))


def _writing(
    model: str, beams: int | None, max_tokens: int | None, length_penalty: float | None
) -> dict[str, Any]:
    return {
        "model": model,
        "beams": beams,
        "max_tokens": max_tokens,
        "length_penalty": length_penalty,
    }


class Question(Generic[T]):
    """Asks a typed door for one item or several at once.

    Args:
        path: of the endpoint.
        cls: what a result is.
        options: of the task, and the model; those that are None are not sent.
        explain: what is wished of an explanation, for a question of one item.
    """

    def __init__(
        self,
        path: str,
        cls: type[T],
        options: Mapping[str, Param],
        *,
        explain: Explain = False,
    ) -> None:
        self._path = path
        self._cls = cls
        self._options = {name: value for name, value in options.items() if value is not None}
        self._explain = explain_as_sent(explain)

    def text(self, text: str) -> Flow[T]:
        """The result of a text."""
        return _only((yield from self.texts([text])))

    def texts(self, texts: Sequence[str]) -> Flow[list[T]]:
        """Results of texts."""
        return (yield from self.ask("text", list(texts)))

    def image(self, image: ImageInput) -> Flow[T]:
        """The result of an image: sent as it is, unless wishes beside it need JSON."""
        if isinstance(self._explain, dict):
            return _only((yield from self.images([image])))
        raw = yield from work(lambda: image_bytes(image))
        params = {**self._options, "explain": self._explain}
        head = {"content-type": media_type(raw)}
        request = Request("POST", self._path, params, head, content=raw, idempotent=True)
        return _only(self._results((yield from send_json(request))))

    def images(self, images: Sequence[ImageInput]) -> Flow[list[T]]:
        """Results of images."""
        encoded = yield from work(
            lambda: [base64.b64encode(image_bytes(image)).decode() for image in images]
        )
        return (yield from self.ask("image", encoded))

    def ask(self, field: str, values: Sequence[Any]) -> Flow[list[T]]:
        """Results of items of one field."""
        body: dict[str, Any] = {**self._options, field: values}
        if self._explain is not None:
            body["explain"] = self._explain
        request = Request("POST", self._path, json=body, idempotent=True)
        return self._results((yield from send_json(request)))

    def _results(self, answer: Any) -> list[T]:
        if self._explain is None:
            return decode_list(self._cls, answer, "results")
        told = answer.get("explanation") if isinstance(answer, dict) else None
        if not isinstance(told, dict):
            raise UnexpectedAnswer("The server's answer has no 'explanation'.")
        why = {"explanation": with_picture(told)}
        results = [{**one, **why} for one in answer.get("results", ())]
        return decode_list(self._cls, {"results": results}, "results")


def _only(results: list[T]) -> T:
    if len(results) != 1:
        raise UnexpectedAnswer(f"The server gave {len(results)} results for one input.")
    return results[0]
