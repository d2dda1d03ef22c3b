"""From a trained Keras model to an ONNX file, and the check that both answer the same."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelry.domain.errors import NotSupported
from modelry.runtime_api.tensors import Array
from modelry.training.contract import Parity, Run
from modelry.training.export import OPSET, plain_bytes
from modelry.training.parity import TOLERANCE, Exported, compare
from modelry.training.recipes.keras.fitting import as_inputs, as_taken, outputs_of, predict
from modelry.training.recipes.keras.rows import Rows
from modelry.training.recipes.keras.slots import Binding, Interface, LabelKind, Slot, Target
from modelry.training.weights import digest_of

_NAME = re.compile(r"[^A-Za-z0-9_./:-]+")


class _Served(torch.nn.Module):
    """The model as it is served: tensors one by one in, a flat tuple out, nothing of training."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> Any:
        made = self.model(as_taken(self.model, inputs), training=False)
        found = outputs_of(made)
        return found[0] if len(found) == 1 else tuple(found)


def interface_of(model: Any) -> Interface:
    """What a model takes and gives.

    Tensors are called as their layers, without characters that URLs or files dislike.
    """
    # a Sequential has one output, which has no name but its last layer's
    outs = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    names = [one.name for one in model.inputs] + outs
    clean = [_NAME.sub("_", name)[:100] or "tensor" for name in names]
    if len(set(clean)) != len(clean):
        clean = [f"{name}_{at}" for at, name in enumerate(clean)]
    slots = [
        Slot(name, tensor, tuple(one.shape[1:]), str(one.dtype))
        for name, tensor, one in zip(names, clean, [*model.inputs, *model.outputs], strict=True)
    ]
    count = len(model.inputs)
    return Interface(tuple(slots[:count]), tuple(slots[count:]))


def export(model: Any, binding: Binding, rows: Rows, target: Path, run: Run) -> Parity:
    """Write a model as ONNX, the batch size open, and see that it answers as the model.

    The exporter that records operations comes first: it takes a tenth of the time of the one that
    captures programs (0.5 s against 3 s for a small CNN, 1.3 s against 14 s for an LSTM) and can do
    bidirectional layers. It cannot do attention, and may take a size for a constant without a word;
    the parity check, in batches of several sizes, sees that, and the other one gets its turn.

    Args:
        model: on the CPU.
        binding: names its tensors.
        rows: real ones, two at least.
        target: the file.
        run: told what went wrong with an exporter.

    Raises:
        NotSupported: neither can do the model's layers.
    """
    found: Parity | None = None
    reason = ""
    for name, by in (("recording", _by_recording), ("capturing", _by_capturing)):
        try:
            with torch.no_grad(), _quiet():
                content = by(_Served(model).eval(), binding, rows, target)
        except Exception as error:  # noqa: BLE001 - exporters raise errors of every kind
            reason = " ".join(str(error).split())[:300]
            run.log(f"export by {name} failed: {reason}")
            continue
        target.write_bytes(content)
        found = check_parity(model, target, rows, binding)
        if found.is_met:
            return found
        run.log(f"export by {name} differs by {found.max_abs:.2e}")
    if found is None:
        raise NotSupported(f"The model cannot be exported to ONNX: {reason}")
    return found


def _by_recording(served: _Served, binding: Binding, rows: Rows, target: Path) -> bytes:
    import onnx

    ins, outs = _names(binding)
    torch.onnx.export(
        served,
        _example(rows),
        target,
        input_names=ins,
        output_names=outs,
        dynamic_axes={name: {0: "n"} for name in (*ins, *outs)},
        opset_version=OPSET,
        dynamo=False,
    )
    return plain_bytes(onnx.load_from_string(target.read_bytes()))


def _by_capturing(served: _Served, binding: Binding, rows: Rows, _: Path) -> bytes:
    ins, outs = _names(binding)
    given = _example(rows)
    made = torch.onnx.export(
        served,
        given,
        input_names=ins,
        output_names=outs,
        dynamic_shapes=(tuple({0: "n"} for _ in given),),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    if made is None:
        raise NotSupported("nothing came of it")
    return plain_bytes(made.model_proto)


def _names(binding: Binding) -> tuple[list[str], list[str]]:
    return (
        [one.slot.tensor for one in binding.feeds],
        [one.slot.tensor for one in binding.targets],
    )


def _example(rows: Rows) -> tuple[torch.Tensor, ...]:
    """Two rows: a batch of one is taken for a constant."""
    return tuple(as_inputs(rows.take([0, min(1, len(rows) - 1)])))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn of their own age, and of packages that are not there."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def check_parity(model: Any, file: Path, rows: Rows, binding: Binding) -> Parity:
    """How far the exported model's answers are from the trained one's.

    Answers beyond 1 may differ by that part of the largest: float32 has seven digits.
    """
    names, outs = _names(binding)
    given = {
        name: np.ascontiguousarray(array.astype(dtype))
        for name, array, dtype in zip(names, rows.inputs, rows.dtypes, strict=True)
    }

    def trained(part: Mapping[str, Array]) -> dict[str, Array]:
        some = Rows([part[name] for name in names], [], None, rows.dtypes)
        return dict(zip(outs, predict(model, some), strict=True))

    metric = "accuracy" if _has_classes(binding.targets[0]) else "mean_squared_error"
    largest = max(float(np.abs(one).max(initial=0.0)) for one in trained(given).values())
    return compare(
        Exported(file),
        trained,
        given,
        tolerance=TOLERANCE * max(1.0, largest),
        metric=(metric, lambda found: _metric(metric, found[outs[0]], rows.targets[0])),
    )


def _has_classes(target: Target) -> bool:
    width = target.slot.shape[-1] if target.slot.shape else 1
    return target.kind is not LabelKind.NUMBERS and (width or 1) > 1


def _metric(name: str, answers: Array, targets: Array) -> float:
    if name == "accuracy":
        wanted = targets.argmax(axis=-1) if targets.ndim == answers.ndim else targets
        return float((answers.argmax(axis=-1) == wanted).mean())
    return float(
        np.square(answers.reshape(len(answers), -1) - targets.reshape(len(targets), -1)).mean()
    )


def weights_digest(model: Any) -> str:
    """`sha256:<hex>` of all weights, in the model's order, with their names and shapes."""
    return digest_of({f"{at:06d} {one.path}": one.value for at, one in enumerate(model.weights)})
