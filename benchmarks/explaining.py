"""`make bench-explain`: explanations by a server, beside SHAP's and Captum's own of the same.

    python -m benchmarks.explaining speed      time and agreement, item by item in turns
    python -m benchmarks.explaining judged     Quantus's scores of explanations beside our own

`speed`: both explain the same inputs of the same models, ask as often, and have as many threads.
Ours is a whole request: HTTP, the processing graph, the worker's queue, the explanation, JSON;
theirs is the call of the library alone in a plain process, on onnxruntime. A library that takes a
batch size gets one that suits it, and its rows go through the engine in runs that suit that;
`as delivered` is the same with the library's defaults and as it hands its rows over, and SHAP's
kernel then chooses its calls itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import explained_models as known
from benchmarks import judged_explanations, machine
from benchmarks.explained_models import ExplainedModel
from benchmarks.judged_explanations import initialisers_of, weights_of
from benchmarks.peers.asking import Peer, asked
from benchmarks.peers.environment import pinned
from benchmarks.served import Served, modelry
from modelry.client.explained import Explanation
from modelry.explaining.faithfulness import rank_agreement

GOALS = {"agreement": 0.9, "x": 1.0, "x batched": 3.0}
GRADIENTS = {"integrated-gradients", "grad-cam"}
PEERS = {"shap": "shap_answers.py", "captum": "captum_answers.py"}
COLD = 3
"""Inputs whose explanations are measured without a process that waits."""
SUITED_ROWS = 1024
"""Of a run of the engine: more are slower on the CPUs that were tried."""
PACKAGES = ["modelry", "onnxruntime", "numpy"]
MODELS: Mapping[str, Callable[[Path, int], ExplainedModel]] = {
    "garments": known.garments,
    "things": known.things,
    "mails": known.mails,
    "read-mails": known.read_mails,
    "tumours": partial(known.table, name="tumours", load="breast_cancer"),
    "wines": partial(known.table, name="wines", load="wine", model="network", epochs=60),
    "diabetes": partial(
        known.table, name="diabetes", load="diabetes", is_number=True, model="network", epochs=60
    ),
}


@dataclass(frozen=True)
class Case:
    """What is compared: our method on a model, and the peer's answer to a question about it.

    Attributes:
        model: its name.
        method: ours.
        peer: which one.
        question: of the peer.
        batch: inputs at once that suit the peer; None where it knows no such thing.
        delivered: inputs at once by default; 0 for SHAP's own choice of calls and of what is 0, and
            for all points of integrated gradients at once.
        has_one_other: a part that is away has the cell of one other row, not of many in turn.
    """

    model: str
    method: str
    peer: str
    question: str
    batch: int | None = None
    delivered: int | None = None
    has_one_other: bool = False


CASES = (
    Case("garments", "occlusion", "captum", "occlusion", 64, 1),
    Case("garments", "integrated-gradients", "captum", "integrated gradients"),
    Case("garments", "grad-cam", "captum", "gradients of maps"),
    Case("things", "occlusion", "captum", "occlusion", 16, 1),
    Case("things", "integrated-gradients", "captum", "integrated gradients", 8, 0),
    Case("things", "grad-cam", "captum", "gradients of maps"),
    Case("mails", "leave-one-out", "captum", "ablation of text", 64, 1),
    Case("read-mails", "leave-one-out", "captum", "ablation of text", 16, 1),
    Case("mails", "shapley", "shap", "kernel of text", delivered=0),
    Case("read-mails", "shapley", "shap", "kernel of text", delivered=0),
    Case("diabetes", "shapley", "shap", "exact of row", delivered=0),
    Case("diabetes", "shapley", "shap", "kernel of row", delivered=0),
    Case("wines", "shapley", "shap", "kernel of row", delivered=0),
    Case("tumours", "shapley", "shap", "kernel of row", delivered=0),
    Case("tumours", "shapley", "captum", "shapley of row", 64, 1, has_one_other=True),
    Case("wines", "shapley", "captum", "kernel of row", 64, 1, has_one_other=True),
    Case("tumours", "leave-one-out", "captum", "ablation of row", 64, 1, has_one_other=True),
)


@dataclass
class Measured:
    """What came out for the inputs of a case."""

    ours_s: list[float] = field(default_factory=list)
    theirs_s: list[float] = field(default_factory=list)
    delivered_s: list[float] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    parts: int = 0
    ours_rows: list[int] = field(default_factory=list)
    theirs_rows: list[int] = field(default_factory=list)
    cold_s: list[float] = field(default_factory=list)

    def row(self, case: Case, model: str) -> list[str]:
        """Medians over the inputs, and of their ratios."""

        def ratio(others: Sequence[float]) -> str:
            pairs = zip(others, self.ours_s, strict=True)
            return f"{statistics.median(a / b for a, b in pairs):.2f}" if others else ""

        def milliseconds(seconds: Sequence[float]) -> str:
            return f"{statistics.median(seconds) * 1e3:.1f}" if seconds else ""

        return [
            f"{case.method}, {model}",
            f"{case.peer}: {case.question}",
            str(self.parts),
            f"{statistics.median(self.ours_rows):.0f}",
            f"{statistics.median(self.theirs_rows):.0f}",
            milliseconds(self.ours_s),
            milliseconds(self.cold_s),
            milliseconds(self.theirs_s),
            ratio(self.theirs_s),
            milliseconds(self.delivered_s),
            ratio(self.delivered_s),
            f"{statistics.median(self.agreement):.3f}",
            f"{min(self.agreement):.3f}",
        ]


HEAD = ["ours, model", "theirs", "parts", "rows asked by ours", "by theirs", "ours ms", "cold ms",
        "theirs ms", "x", "as delivered ms", "x", "rank agreement", "least"]  # fmt: skip


class Comparison:
    """Asks the server and a peer for explanations of the same inputs.

    Args:
        served: the server.
        model: what is explained.
        peer: the other one.
        threads: of our engine.
    """

    def __init__(self, served: Served, model: ExplainedModel, peer: Peer, threads: int) -> None:
        self._served = served
        self._client = served.client
        self._threads = threads
        self._model = model
        self._peer = peer

    def measured(self, case: Case) -> Measured:
        """All inputs of the model, after one that only warms up."""
        found = Measured()
        for at, given in enumerate([self._model.inputs[0], *self._model.inputs]):
            explained, _ = self._ours(case, given)  # tells the target and the calls
            if at % 2:  # who comes second finds a warmer machine: take turns
                ours_s = self._ours(case, given)[1]
                theirs = self._theirs(case, given, explained, case.batch, SUITED_ROWS)
            else:
                theirs = self._theirs(case, given, explained, case.batch, SUITED_ROWS)
                ours_s = self._ours(case, given)[1]
            if at == 0:
                continue
            found.ours_s.append(ours_s)
            found.theirs_s.append(theirs["seconds"])
            if case.delivered is not None:
                told = self._theirs(case, given, explained, case.delivered)
                found.delivered_s.append(told["seconds"])
            mine, other = _weights(explained), np.array(theirs["weights"])
            found.agreement.append(rank_agreement(mine, other))
            found.parts = len(mine)
            asked_for = explained.parameters.get("gradients", explained.cost["explaining_calls"])
            found.ours_rows.append(int(asked_for))
            found.theirs_rows.append(theirs["rows"])
        if case.method in GRADIENTS:
            found.cold_s = [self._cold(case, given) for given in self._model.inputs[:COLD]]
        return found

    def _cold(self, case: Case, given: Any) -> float:
        """What the first question takes: no process waits for a deployment that was just made."""
        self._model.deploy_anew(self._served, self._threads)
        return self._ours(case, given)[1]

    def _ours(self, case: Case, given: Any) -> tuple[Explanation, float]:
        item: dict[str, Any]
        if isinstance(given, str):
            item = {"text": given}
        elif isinstance(given, np.ndarray):
            item = {"image": Image.fromarray(given)}
        else:
            sent = self._model.background[:1] if case.has_one_other else ()
            item = {"row": given, "background": sent}
        began = time.perf_counter()
        explained = self._client.explain(
            self._model.name, **item, method=case.method, checks=False, picture=False
        )
        return explained, time.perf_counter() - began

    def _theirs(
        self,
        case: Case,
        given: Any,
        ours: Explanation,
        batch: int | None,
        rows_at_once: int | None = None,
    ) -> dict[str, Any]:
        arrays: dict[str, np.ndarray] = {}
        more: dict[str, Any] = {}
        if isinstance(given, str):
            (step,) = self._model.manifest["pre"]
            more = {
                "text": given,
                "words": known.words_of(given),
                "tokenizer": str(self._model.files["tokenizer"]),
                "max_length": step["tokenize"]["max_length"],
            }
        elif isinstance(given, np.ndarray):
            arrays["image"] = tensor_of(given)
            cells = np.array(ours.attribution["grid"]).shape
            more = {"cell": -(-max(given.shape[:2]) // max(cells))}
            more |= {name: ours.parameters.get(name) for name in ("square", "points")}
            if case.method in GRADIENTS:
                small = self._model.name == "garments"
                arrays |= (weights_of if small else initialisers_of)(self._model)
        else:
            background = np.array(self._model.background, np.float32)
            arrays = {
                "row": np.array(given, np.float32),
                "background": background,
                "other": background[0],
            }
        return self._peer.ask(
            case.question,
            arrays,
            model=str(self._model.files["model"]),
            softmax=self._model.has_softmax,
            target=ours.target.index,
            calls=int(ours.parameters.get("calls", 0)),
            batch=batch,
            rows_at_once=rows_at_once,
            seed=0,
            **more,
        )


def tensor_of(picture: np.ndarray) -> np.ndarray:
    """What the versions' own steps make of a picture that has their size: (1, channels, …)."""
    if picture.ndim == 2:
        return (picture[None, None] / np.float32(255)).astype(np.float32)
    return ((picture.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None].copy()


def _weights(explained: Explanation) -> np.ndarray:
    told = explained.attribution
    if told["kind"] == "image":
        return np.array(told["grid"]).ravel()
    return np.array([one["weight"] for one in told.get("words") or told["columns"]])


def speed(given: argparse.Namespace) -> list[str]:
    """All cases; the lines of the result."""
    cases = [one for one in CASES if not given.models or one.model in given.models]
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = {name: MODELS[name](folder, given.inputs) for name in {c.model: 0 for c in cases}}
        served = stack.enter_context(modelry(settings={"MODELRY_WORK_THREADS": str(given.threads)}))
        for model in models.values():
            model.deploy(served, folder, given.threads)
        peers = {
            name: stack.enter_context(asked(name, PEERS[name], str(given.threads)))
            for name in {case.peer: 0 for case in cases}
        }
        for case in cases:
            comparison = Comparison(served, models[case.model], peers[case.peer], given.threads)
            found = comparison.measured(case)
            rows.append(found.row(case, case.model))
            print(" | ".join(rows[-1]), flush=True)
    return [
        *machine.describe(PACKAGES),
        f"- peers: {', '.join(pinned(list(peers)))}",
        (
            f"- {given.inputs} inputs a model; medians of them, and of their ratios; "
            f"{given.threads} thread(s) for engines and gradients of both, 1 for their tokenizers"
        ),
        (
            "- ours: a whole HTTP request, without the check of the explanation; theirs: the "
            "library's call alone, on onnxruntime in a process of its own"
        ),
        (
            "- tables: the rows that stand for what is usual are kept with the version, as SHAP's "
            "explainer has them before it is asked; Captum's one other row is sent"
        ),
        (
            "- budget: SHAP and sampling are told to ask as often as ours did, which stops when "
            "the order is settled; occlusion and ablation ask as often as their windows need"
        ),
        (
            "- gradients: ours in a process of its own that is shut in and waits for the next "
            f"question of the same version; cold: the first question of a deployment ({COLD} of "
            "them), for which it has to be started; Captum's on the same network in torch, in its "
            "process, made before, with as many points as ours ended with; grad-cam with the "
            "gradient of each place, as Captum's LayerGradientXActivation"
        ),
        (
            "- things: EfficientNet-Lite0, 224 x 224 (in torch for Captum's gradients); "
            "read-mails: a transformer; tumours: trees; wines, diabetes: dense networks; the "
            "others are small"
        ),
        (
            "- agreement: Spearman's correlation of the weights; with more than ten parts both "
            "draw subsets of their own"
        ),
        (
            f"- goals: not slower than {GOALS['x']:g} x, {GOALS['x batched']:g} x where batching "
            "applies: against a library that asks one by one as delivered"
        ),
        "",
        *machine.table(HEAD, rows),
    ]


def main() -> int:
    """Measure what is asked for and write it down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["speed", "judged"])
    parser.add_argument("--inputs", type=int, default=11, help="of each model")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="speed: only of these")
    parser.add_argument("--threads", type=int, default=1, help="of each engine")
    given = parser.parse_args()
    titles = {
        "speed": ("explaining-speed", "Explanations beside SHAP's and Captum's", speed),
        "judged": (
            "explaining-judged",
            "Explanations judged by Quantus and by themselves",
            judged_explanations.judged,
        ),
    }
    for what in given.what:
        name, title, measure = titles[what]
        lines = measure(given)
        print("\n".join(lines), flush=True)
        if given.inputs >= parser.get_default("inputs") and not given.models:
            machine.write(name, title, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
