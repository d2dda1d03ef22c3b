"""Classification, detection, translation and summaries over the typed doors."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from modelry.client.decoding import decode_list
from modelry.client.errors import InvalidInput, UnexpectedAnswer
from modelry.client.exchange import Flow, Params, Request, send_json, work
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
    """What one input is: labels, best first."""

    labels: tuple[LabelScore, ...]

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


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A text that a model wrote for a text.

    `score` is the mean log-probability of its tokens (at most 0); `is_complete` is false where it
    was cut at the most tokens that an answer may have.
    """

    text: str
    score: float = 0.0
    is_complete: bool = True


def classify(
    model: str,
    *,
    image: ImageInput | None = None,
    text: str | None = None,
    top_k: int | None = None,
) -> Flow[Classification]:
    """Tell what an image (path, bytes or PIL image) or a text is.

    Args:
        model: a deployment of the task image-classification or text-classification.
        image: the image; or
        text: the text.
        top_k: how many labels to tell.
    """
    if (image is None) == (text is None):
        raise InvalidInput("Give either image or text.", param="image")
    if text is not None:
        found = yield from classify_many(model, texts=[text], top_k=top_k)
        return _only(found)
    assert image is not None
    params = {"model": model, "top_k": top_k}
    return (yield from _one_image("/v1/classify", Classification, image, params))


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
    ask = _Question("/v1/classify", Classification, {"model": model, "top_k": top_k})
    if texts is not None:
        return (yield from gathered(texts, ITEMS, ask.texts))
    return (yield from gathered(images or (), IMAGES, ask.images))


def detect(
    model: str,
    image: ImageInput,
    *,
    min_score: float | None = None,
    max_objects: int | None = None,
) -> Flow[Detections]:
    """Find the objects of an image (path, bytes or PIL image).

    Args:
        model: a deployment of the task object-detection.
        image: the image.
        min_score: leave out what the model is less sure of (0 to 1).
        max_objects: tell at most so many.
    """
    params = {"model": model, "min_score": min_score, "max_objects": max_objects}
    return (yield from _one_image("/v1/detect", Detections, image, params))


def detect_many(
    model: str,
    images: Sequence[ImageInput],
    *,
    min_score: float | None = None,
    max_objects: int | None = None,
) -> Flow[list[Detections]]:
    """Find the objects of several images, in as few requests as they fit in."""
    options = {"model": model, "min_score": min_score, "max_objects": max_objects}
    ask = _Question("/v1/detect", Detections, options)
    return (yield from gathered(images, IMAGES, ask.images))


def translate(
    model: str,
    text: str,
    *,
    beams: int | None = None,
    max_tokens: int | None = None,
    length_penalty: float | None = None,
) -> Flow[WrittenText]:
    """Translate a text.

    Args:
        model: a deployment of the task translation.
        text: the text.
        beams: how many candidates are followed at once; 1 is fastest.
        max_tokens: of the answer, at most.
        length_penalty: 0 favours short answers, larger values longer ones.
    """
    options = _writing(model, beams, max_tokens, length_penalty)
    return _only((yield from _Question("/v1/translate", WrittenText, options).texts([text])))


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
    ask = _Question("/v1/translate", WrittenText, options)
    return (yield from gathered(texts, ITEMS, ask.texts))


def summarize(
    model: str,
    text: str,
    *,
    beams: int | None = None,
    max_tokens: int | None = None,
    length_penalty: float | None = None,
) -> Flow[WrittenText]:
    """Summarize a text.

    Args:
        model: a deployment of the task summarization.
        text: the text.
        beams: how many candidates are followed at once; 1 is fastest.
        max_tokens: of the answer, at most.
        length_penalty: 0 favours short answers, larger values longer ones.
    """
    options = _writing(model, beams, max_tokens, length_penalty)
    return _only((yield from _Question("/v1/summarize", WrittenText, options).texts([text])))


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
    ask = _Question("/v1/summarize", WrittenText, options)
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


class _Question(Generic[T]):
    """Asks a typed door for several items at once."""

    def __init__(self, path: str, cls: type[T], options: Mapping[str, Any]) -> None:
        self._path = path
        self._cls = cls
        self._options = {name: value for name, value in options.items() if value is not None}

    def texts(self, texts: Sequence[str]) -> Flow[list[T]]:
        """Results of texts."""
        return (yield from self._ask("text", list(texts)))

    def images(self, images: Sequence[ImageInput]) -> Flow[list[T]]:
        """Results of images."""
        encoded = yield from work(
            lambda: [base64.b64encode(image_bytes(image)).decode() for image in images]
        )
        return (yield from self._ask("image", encoded))

    def _ask(self, field: str, values: list[str]) -> Flow[list[T]]:
        body = {**self._options, field: values}
        request = Request("POST", self._path, json=body, idempotent=True)
        return decode_list(self._cls, (yield from send_json(request)), "results")


def _one_image(path: str, cls: type[T], image: ImageInput, params: Params) -> Flow[T]:
    raw = yield from work(lambda: image_bytes(image))
    request = Request(
        "POST",
        path,
        params,
        {"content-type": media_type(raw)},
        content=raw,
        idempotent=True,
    )
    return _only(decode_list(cls, (yield from send_json(request)), "results"))


def _only(results: list[T]) -> T:
    if len(results) != 1:
        raise UnexpectedAnswer(f"The server gave {len(results)} results for one input.")
    return results[0]
