"""The prediction doors behind a real HTTP server on loopback, with models in its own process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from tests.support.typed_door import TOKENS, _Keys

from modelry.domain.errors import ModelFailed
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.protocols.http.endpoint import Door, starlette_routes
from modelry.protocols.http.limits import DoorLimits
from modelry.protocols.oip.hot import InferRoute
from modelry.protocols.oip.routes import build_door as oip_door
from modelry.protocols.openai.routes import build_door as openai_door
from modelry.protocols.operations.routes import build_door as operations_door
from modelry.protocols.tasks import build_door as tasks_door
from modelry.protocols.tasks import build_kserve_door as kserve_door
from modelry.runtime_api.engine import Embeddings
from modelry.runtime_api.generation import Finished, TextDelta, TokenUsage, ToolCallDelta
from modelry.services.inference.authentication import Authenticator
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.inference.routing import Route, RouteTable, Target
from modelry.services.inference.service import InferenceService
from modelry.testing import samples
from modelry.testing.replica_link import HOLD, Explained, InProcessLink, InProcessModel, Items

KEY = next(iter(TOKENS))


class Parrot(InProcessModel):
    """Says what was said last, word by word; some words make it do something else."""

    def generate(self, request: Any) -> Iterable[Any]:
        said = request.messages[-1]["content"] if hasattr(request, "messages") else request.prompt
        if isinstance(said, list):
            said = said[0]["text"]
        for choice in range(request.n):
            if said == "call a tool":
                yield ToolCallDelta(choice, 0, "call_1", "weather", "")
                yield ToolCallDelta(choice, 0, None, None, '{"city":')
                yield ToolCallDelta(choice, 0, None, None, '"Paris"}')
                yield Finished(choice, "tool_calls")
                continue
            for word in str(said).split(" "):
                if word == "wait":
                    yield HOLD
                if word == "die":
                    raise ModelFailed("The engine ran out of luck.")
                yield TextDelta(choice, word + " ")
            yield Finished(choice, "stop")
        yield TokenUsage(3, 5, 2)

    def explain(
        self, item: dict[str, Any], options: Mapping[str, Any], wish: Mapping[str, Any]
    ) -> Explained:
        said = [message["content"] for message in item["messages"]]
        segments = [
            {"message": at, "role": "user", "text": one, "start": 0, "end": len(one), "weight": at}
            for at, one in enumerate(said)
        ]
        answer = item.get("answer", said[-1])
        attribution = {"kind": "chat", "segments": segments, "output": {"text": answer}}
        return _told(attribution, item, options, wish), {"explanations": 1, "model_calls": 7}


class Lengths(InProcessModel):
    """Embeds a text as its length, 1 and -1; pictures are their own size in bytes."""

    def embed(self, inputs: Sequence[str | list[int]]) -> Embeddings:
        vectors = np.array([[len(one), 1.0, -1.0] for one in inputs], dtype=np.float32)
        return Embeddings(vectors, [len(one) for one in inputs])

    def explain(
        self, item: dict[str, Any], options: Mapping[str, Any], wish: Mapping[str, Any]
    ) -> Explained:
        sides = {
            side: [{"text": item[name], "start": 0, "end": 1, "weight": at}]
            for at, (side, name) in enumerate(
                [("words", "text"), ("compared_with", "compared_with")]
            )
        }
        return _told({"kind": "pair", **sides}, item, options, wish), {"explanations": 1}


class Classifier(InProcessModel):
    """Two labels; the second one's index tells how many bytes came."""

    def predict(self, items: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> Items:
        kept = options.get("top_k", 2)
        return [
            {
                "labels": [
                    {"label": "cat", "index": 0, "score": 0.75},
                    {
                        "label": "size",
                        "index": len(item.get("image") or item["text"]),
                        "score": 0.25,
                    },
                ][:kept]
            }
            for item in items
        ], {"items": len(items)}

    def explain(
        self, item: dict[str, Any], options: Mapping[str, Any], wish: Mapping[str, Any]
    ) -> Explained:
        words = [{"text": one, "start": 0, "end": 0, "weight": len(one)} for one in ["a", "bb"]]
        region = {"box": [0, 0, 8, 8], "weight": 0.5}
        by_word = {"kind": "text", "words": words}
        by_place = {"kind": "image", "regions": [region], "grid": [[0.5]], "width": 8, "height": 8}
        attribution = by_word if "text" in item else by_place
        return _told(attribution, item, options, wish), {"explanations": 1, "model_calls": 7}


def _told(
    attribution: dict[str, Any],
    item: Mapping[str, Any],
    options: Mapping[str, Any],
    wish: Mapping[str, Any],
) -> dict[str, Any]:
    """What explains: it tells what it was asked with as its parameters."""
    asked = {name: item[name] for name in ("answer", "level", "within") if name in item}
    return {
        "method": wish["method"] or "usual",
        "target": {"index": 0, "label": wish["target"] or "cat", "score": 0.75},
        "attribution": attribution,
        "interval": None,
        "baseline": "nothing",
        "parameters": {"seed": wish["seed"], **asked, **options},
        "faithfulness": _CHECKED if wish["checks"] else None,
        "sentence": "For 'cat' spoke most: 'bb'.",
        "cost": {"model_calls": 7, "explaining_calls": 3, "seconds": 0.5},
    }


_CHECKED = {
    "deletion": 0.1,
    "insertion": 0.8,
    "random_deletion": [0.4, 0.3, 0.5],
    "random_insertion": [0.5, 0.4, 0.6],
    "is_better_than_random": True,
    "calls": 4,
    "stability": None,
    "p_value": 0.04,
}


class Detector(InProcessModel):
    """One object in every picture."""

    def predict(self, items: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> Items:
        found = {"label": "dog", "index": 7, "score": 0.5, "box": [1.0, 2.0, 3.5, 4.0]}
        objects = [found] if options.get("min_score", 0) <= 0.5 else []
        return [{"objects": objects, "width": 640, "height": 480} for _ in items], {"images": 1}

    def explain(
        self, item: dict[str, Any], options: Mapping[str, Any], wish: Mapping[str, Any]
    ) -> Explained:
        target = {"index": 0, "label": "dog", "score": 0.5, "box": [1.0, 2.0, 3.5, 4.0]}
        found = {
            **target,
            "grid": [[0.25]],
            "regions": [{"box": [1, 2, 3, 4], "weight": 0.25}],
            "inside": 0.875,
            "faithfulness": _CHECKED if wish["checks"] else None,
        }
        return {
            "method": wish["method"] or "usual",
            "target": target,
            "attribution": {"kind": "objects", "objects": [found], "width": 640, "height": 480},
            "parameters": dict(options),
            "sentence": f"For 'dog' in {len(item['image'])} bytes spoke most: nothing.",
            "cost": {"model_calls": 7, "explaining_calls": 3, "seconds": 0.5},
        }, {"explanations": 1, "model_calls": 7}


class Adder(InProcessModel):
    """Adds a row's numbers up; rows with a text are told as a label."""

    def predict(self, items: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> Items:
        return [self._told(item["row"]) for item in items], {"rows": len(items)}

    def _told(self, row: Any) -> dict[str, Any]:
        cells = list(row.values()) if isinstance(row, dict) else row
        if any(isinstance(cell, str) for cell in cells):
            return {"labels": [{"label": "text", "index": 0, "score": 1.0}]}
        total = float(sum(cell or 0 for cell in cells))
        return {"value": total} if len(cells) > 1 else {"values": [total, -total]}


class Writer(InProcessModel):
    """Writes a text backwards; an answer of at most `max_tokens` letters."""

    def predict(self, items: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> Items:
        most = options.get("max_tokens", 1000)
        written = [
            {
                "text": item["text"][::-1][:most],
                "score": -0.5,
                "is_complete": len(item["text"]) <= most,
            }
            for item in items
        ]
        letters = sum(len(item["text"]) for item in items)
        return written, {"input_tokens": letters, "output_tokens": letters}

    def explain(
        self, item: dict[str, Any], options: Mapping[str, Any], wish: Mapping[str, Any]
    ) -> Explained:
        text = item["text"]
        words = [{"text": text, "start": 0, "end": len(text), "weight": 3}]
        output = {"text": item.get("answer", text[::-1])}
        attribution = {"kind": "sequence", "words": words, "output": output}
        return _told(attribution, item, options, wish), {"explanations": 1, "model_calls": 7}


class Echo(InProcessModel):
    """Gives back every input under the name of an output; of each input all counts alike."""

    def explain_tensors(self, inputs: Mapping[str, Any], wish: Mapping[str, Any]) -> Any:
        count = len(next(iter(inputs.values())))
        told = {"method": wish["method"] or "usual", "baseline": "0", "sentence": "All alike."}
        weights = {f"attributions.{name}": np.ones(one.shape) for name, one in inputs.items()}
        return [told] * count, weights, {"explanations": count, "model_calls": 4 * count}

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{name}_out": array for name, array in inputs.items()}


MODELS: Mapping[str, tuple[str, InProcessModel]] = {
    "assistant": ("chat", Parrot()),
    "minilm": ("text-embedding", Lengths()),
    "pets": ("image-classification", Classifier()),
    "mood": ("text-classification", Classifier()),
    "things": ("object-detection", Detector()),
    "sums": ("tabular", Adder()),
    "polyglot": ("translation", Writer()),
    "brief": ("summarization", Writer()),
    "echo": ("tensor", Echo()),
}


def echo_signature() -> Signature:
    """One input and output per datatype, of any length."""
    kinds = list(Datatype)
    inputs = tuple(TensorSpec(kind.value.lower(), kind, (-1, 2)) for kind in kinds)
    outputs = tuple(TensorSpec(f"{kind.value.lower()}_out", kind, (-1, 2)) for kind in kinds)
    return Signature(inputs, outputs, batched=False)


@dataclass(frozen=True)
class Answering:
    """The prediction doors and the data plane behind them."""

    application: Starlette
    inference: InferenceService
    infer_route: InferRoute
    doors: tuple[Door, ...]


def build(signature: Signature | None = None) -> Answering:
    """The doors over all of `MODELS`; `TOKENS` are keys.

    Args:
        signature: of the models; by default `echo_signature`.
    """
    routes = RouteTable()
    inference = InferenceService(Authenticator(_Keys()), routes)
    routes.swap(
        {
            (samples.DEFAULT_TENANT_ID, name): _route(
                inference, name, task, model, signature or echo_signature()
            )
            for name, (task, model) in MODELS.items()
        }
    )
    limits = DoorLimits(inference.accounts)
    infer_route = InferRoute(inference, limits, 2**20)
    doors = (
        openai_door(inference),
        oip_door(inference, None, infer_route),  # type: ignore[arg-type]
        tasks_door(inference, max_body_bytes=2**20),
        kserve_door(inference, max_body_bytes=2**20),
        operations_door(inference, lambda: {"ready": True}, dict),
    )
    authenticator = inference.authenticator
    application = Starlette(
        routes=[route for door in doors for route in starlette_routes(door, authenticator, limits)]
    )
    return Answering(application, inference, infer_route, doors)


def _route(
    inference: InferenceService,
    name: str,
    task: str,
    model: InProcessModel,
    signature: Signature,
) -> Route:
    limits = samples.Limits()
    deployment = replace(samples.deployment(name, name), limits=limits)
    version = replace(samples.version(name), task=task, signature=signature)
    group = ReplicaGroup(
        (samples.DEFAULT_TENANT_ID, name, 1, task),
        limits,
        inference.accounts,
        lambda: None,
        meter=inference.meter,
    )
    group.attach(InProcessLink(f"replica-of-{name}", group, model))
    return Route(deployment, (Target(deployment, version, group),), (100.0,))


@contextmanager
def answering() -> Iterator[str]:
    """The doors' URL; `KEY` is a key that may call them."""
    config = uvicorn.Config(build().application, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise AssertionError("the server did not start")
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


@contextmanager
def _no_signals() -> Iterator[None]:
    yield
