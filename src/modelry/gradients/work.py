"""The work `explain-one`: explains one answer by gradients, and has the engine check it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from modelry.domain.errors import NotSupported
from modelry.domain.signature import Signature
from modelry.explaining.asked import Asked
from modelry.explaining.asking import Subject
from modelry.explaining.explain import explain
from modelry.explaining.faithfulness import Faithfulness
from modelry.gradients.contract import ASKED, FILE, GRAD_CAM, INFER, MEASURE, WORK
from modelry.gradients.further_files import in_one_piece
from modelry.gradients.model import Gradients, Network, Question
from modelry.processing.steps.text import TOKENIZER_ROLE
from modelry.processing.text_encoder import load_text_encoder
from modelry.runtime_api.tensors import Array, pack_tensors, unpack_tensors
from modelry.runtime_api.work import Json, WorkHost
from modelry.tasks.background_rows import BACKGROUND_ROLE, read_background
from modelry.tasks.graphs import MODEL_ROLE
from modelry.tasks.prediction import Predictor, Prepared, predictor_for

MOST_ROWS = 32
_ROWS_BYTES = 2**23
"""Of inputs in one run."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What is made of a version's files, by the request that told of it."""

    request: Json
    predictor: Predictor
    network: Network
    background: Sequence[Mapping[str, Any]]


class ExplainOne:
    """Explains one answer.

    The request has `task`, `manifest`, `signature`, `columns` and `roles` of the version, and what
    it is `known_as`; its files are inputs. What is explained is asked of the server, and the
    outcome is the explanation. What is made of the version stays for the next question that comes
    with the same request.
    """

    name: ClassVar[str] = WORK

    def __init__(self) -> None:
        self._version: _Version | None = None

    def run(self, host: WorkHost) -> Json:
        """See `Work.run`."""
        version = self._version
        if version is None or version.request != host.request:
            self._version = None  # two might not fit into memory
            version = self._version = _opened(host)
        asked = Asked.from_bytes(host.ask(ASKED, {}).body)
        engine = _Engine(host)
        prepared = version.predictor.before([asked.item], asked.options)
        subject = Subject(
            asked.item,
            asked.options,
            version.predictor,
            engine.run,
            _rows_at_once(prepared) if version.network.is_batched else 1,
            host.request["columns"],
            Gradients(version.network, Question(asked.item, engine.run, host.stop)),
            background=version.background,
            measure=engine.measured,
            prepared=prepared,
        )
        if asked.wish.method == GRAD_CAM and prepared.context.geometry is not None:
            version.network.grad_cam.begin(prepared.inputs)
        explained = explain(subject, asked.wish, host.stop)
        told = {**explained.told, "cost": {**explained.told["cost"], "model_calls": engine.calls}}
        usage = {**explained.usage, "model_calls": engine.calls}
        picture = base64.b64encode(explained.picture).decode() if explained.picture else None
        return {**told, "picture": picture, "usage": usage}


def _opened(host: WorkHost) -> _Version:
    """The version that a request tells of, read from its files."""
    told = host.request
    manifest = told["manifest"]
    signature = Signature.from_wire(told["signature"])
    with ExitStack() as opened:
        files = {role: opened.enter_context(host.open(f"{FILE}{role}")) for role in told["roles"]}
        predictor = predictor_for(str(told["task"]), manifest, files, signature)
        if predictor is None:
            raise NotSupported("Answers of this version cannot be explained by gradients.")
        network = Network(
            in_one_piece(files[MODEL_ROLE].read_bytes(), _by_name(manifest, files)),
            manifest.get("post") or (),
            signature,
            load_text_encoder(files[TOKENIZER_ROLE]) if TOKENIZER_ROLE in files else None,
        )
        background = read_background(files[BACKGROUND_ROLE]) if BACKGROUND_ROLE in files else ()
    return _Version(told, predictor, network, background)


def _by_name(manifest: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Path]:
    """The files by the names that the manifest has for them."""
    told = manifest.get("files") or {}
    return {str(told[role]["name"]): path for role, path in files.items() if role in told}


def _rows_at_once(prepared: Prepared) -> int:
    size = sum(one.nbytes for one in prepared.inputs.values())
    return max(1, min(MOST_ROWS, _ROWS_BYTES // max(1, size)))


class _Engine:
    """The engine that serves the version, through the server; counts how often it was asked."""

    def __init__(self, host: WorkHost) -> None:
        self.calls = 0
        self._host = host
        self._first: tuple[Mapping[str, Array], Mapping[str, Array]] | None = None

    def run(self, inputs: Mapping[str, Array], rows: int) -> Mapping[str, Array]:
        """Its outputs for rows; the row that was asked first, the item's own, is asked once."""
        if self._first is not None and _are_same(self._first[0], inputs):
            return self._first[1]
        entries, parts = pack_tensors(inputs)
        answer = self._host.ask(INFER, {"inputs": entries}, b"".join(parts))
        self._count(rows)
        outputs = unpack_tensors(answer.header["arrays"], answer.body)
        if self._first is None:
            self._first = (inputs, outputs)
        return outputs

    def measured(self, weights: Array, target: int, seconds: float | None) -> Faithfulness | None:
        """How faithful weights of the item's parts are; the worker measures it between requests.

        None where it could not be measured in so many seconds.
        """
        told = {"weights": weights.tolist(), "target": target, "seconds": seconds}
        answer = self._host.ask(MEASURE, told)
        self._count(int(answer.header["model_calls"]))
        found = answer.header["faithfulness"]
        return None if found is None else Faithfulness.from_wire(found)

    def _count(self, calls: int) -> None:
        self.calls += calls
        self._host.progress(self.calls, None, "model calls")


def _are_same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])
        for name in one
    )
