"""Tensors through a model, over the Open Inference Protocol with binary data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelry.client.exchange import Answer, Flow, Request, send
from modelry.client.operations.paths import part

if TYPE_CHECKING:
    from modelry.client.tensors import Array

HEADER = "inference-header-content-length"


@dataclass(frozen=True, slots=True, eq=False)
class Inferred(Mapping[str, "Array"]):
    """Output arrays by name; `version` is the one that answered."""

    outputs: Mapping[str, Array]
    model: str = ""
    version: int | None = None

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


def infer(
    model: str,
    inputs: Mapping[str, Any],
    *,
    outputs: Sequence[str] | None = None,
    datatypes: Mapping[str, str] | None = None,
    version: int | None = None,
) -> Flow[Inferred]:
    """Run arrays through a model.

    Args:
        model: a deployment.
        inputs: arrays by input name; lists become arrays.
        outputs: names of the outputs that are wanted; None for all.
        datatypes: convert inputs (FP32, INT64, BYTES …); by default each array's own type.
        version: a version that the deployment serves; by default as its traffic is split.
    """
    request = infer_request(model, inputs, outputs=outputs, datatypes=datatypes, version=version)
    return _inferred((yield from send(request)))


def infer_request(
    model: str,
    inputs: Mapping[str, Any],
    *,
    outputs: Sequence[str] | None = None,
    datatypes: Mapping[str, str] | None = None,
    version: int | None = None,
) -> Request:
    """The request of `infer`."""
    from modelry.client.tensors import as_datatypes, pack

    wanted = as_datatypes(datatypes)
    packed = [pack(name, value, wanted.get(name)) for name, value in inputs.items()]
    head: dict[str, Any] = {
        "parameters": {"binary_data_output": True},
        "inputs": [entry for entry, _ in packed],
    }
    if outputs is not None:
        head["outputs"] = [{"name": name} for name in outputs]
    json_part = json.dumps(head, separators=(",", ":")).encode()
    path = f"/v2/models/{part(model, 'model')}"
    if version is not None:
        path += f"/versions/{version}"
    return Request(
        "POST",
        f"{path}/infer",
        headers={HEADER: str(len(json_part)), "content-type": "application/octet-stream"},
        content=b"".join((json_part, *(raw for _, raw in packed))),
        idempotent=True,
    )


def _inferred(answer: Answer) -> Inferred:
    from modelry.client.tensors import unpack

    length = answer.headers.get(HEADER)
    size = len(answer.content) if length is None else int(length) if length.isdigit() else -1
    if not 0 <= size <= len(answer.content):
        raise answer.unexpected("a wrong length of its JSON part")
    try:
        head = json.loads(answer.content[:size])
        entries, number = head["outputs"], head.get("model_version")
        arrays = unpack(entries, memoryview(answer.content)[size:])
        version = int(number) if number is not None else None
        return Inferred(arrays, head.get("model_name", ""), version)
    except (KeyError, TypeError, ValueError):
        raise answer.unexpected("something that is no answer to infer") from None
