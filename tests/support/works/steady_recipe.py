"""A recipe for tests of what is around recipes: a linear model, learnt by plain numpy in steps as
long as is wished, so that no framework has to be imported and killing it is easy.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from modelry.domain.datasets import ColumnRole
from modelry.domain.errors import Cancelled, InvalidInput, TrainingDiverged
from modelry.training.contract import Parameters, Parity, Trained


class SteadyParameters(Parameters):
    steps: int = Field(20, ge=1, le=100_000, description="of gradient descent")
    step_s: float = Field(0.0, ge=0.0, le=10.0, description="seconds that a step takes")
    checkpoint_every: int = Field(5, ge=1, description="steps between checkpoints")
    learning_rate: float = Field(0.05, gt=0, description="of each step")
    diverge_at: int | None = Field(None, description="a step with a loss that is no number")
    parity_error: float = Field(0.0, ge=0, description="added to what the export answers")


class SteadyRecipe:
    name: ClassVar[str] = "steady"
    summary: ClassVar[str] = "A linear model by plain gradient descent."
    tasks: ClassVar[tuple[str, ...]] = ("tensor",)
    parameters: ClassVar[type[Parameters]] = SteadyParameters

    def check(self, data, parameters):
        if not data.schema.with_role(ColumnRole.LABEL):
            raise InvalidInput(f"{data.ref} has no label.", param="dataset")

    def train(self, data, parameters, run):
        features = [one.name for one in data.description.schema.with_role(ColumnRole.FEATURE)]
        (label,) = (one.name for one in data.description.schema.with_role(ColumnRole.LABEL))
        x, y = [], []
        for batch in data.batches("train", [*features, label]):
            x.append(np.stack([batch[name].to_numpy() for name in features], 1))
            y.append(batch[label].to_numpy())
        weights = self._descend(np.concatenate(x), np.concatenate(y), parameters, run)
        file = run.scratch / "model.onnx"
        file.write_bytes(_exported(weights))
        error = parameters.parity_error
        notes = run.scratch / "notes.txt"
        notes.write_text("kept")
        return Trained(
            manifest={"task": "tensor", "files": {"model": file.name}},
            files={"model": file},
            metrics={"loss": float(np.square(np.concatenate(x) @ weights[:-1]).mean())},
            parity=Parity(rows=len(x), max_abs=error, max_rel=error, tolerance=1e-4),
            weights_digest=f"sha256:{hashlib.sha256(weights.tobytes()).hexdigest()}",
            kept={"notes.txt": notes},
        )

    def _descend(self, x, y, parameters, run) -> Any:
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
        weights = np.random.default_rng(run.seed).normal(size=x.shape[1])
        if "weights" in run.base:
            weights = np.load(run.base["weights"])
        first, found = 0, run.checkpoint()
        if found is not None:
            kept = np.load(found)
            first, weights = int(kept["step"]), kept["weights"]
        for step in range(first, parameters.steps):
            if step % parameters.checkpoint_every == 0 and step > first:
                self._save(run, step, weights)
            if run.stop.is_set():
                self._save(run, step, weights)
                raise Cancelled("Stopped.")
            # rows and noise of a step follow from seed and step alone
            rows = np.random.default_rng([run.seed, step]).choice(len(x), 8)
            error = x[rows] @ weights - y[rows]
            weights = weights - parameters.learning_rate * 2 * x[rows].T @ error / 8
            loss = float(np.square(error).mean())
            if step == parameters.diverge_at:
                loss = float("nan")
            if not np.isfinite(loss):
                raise TrainingDiverged(f"The loss is {loss} at step {step}.")
            run.metrics(step, {"loss": loss})
            run.progress(step + 1, parameters.steps, "steps", "training")
            time.sleep(parameters.step_s)
        return weights

    def _save(self, run, step, weights):
        file = run.scratch / "checkpoint.npz"
        np.savez(file, step=step, weights=weights)
        run.save_checkpoint(step, file)


def _exported(weights) -> bytes:
    from onnx import TensorProto, helper

    count = len(weights) - 1
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["y"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", count])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [count, 1], weights[:-1].tolist()),
            helper.make_tensor("b", TensorProto.FLOAT, [1], weights[-1:].tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
