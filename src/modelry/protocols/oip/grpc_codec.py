"""v2 infer messages of gRPC, to and from a worker's frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from modelry.domain.errors import MalformedBody, TensorMismatch, UnsupportedField
from modelry.domain.signature import ITEM_BYTES, Datatype, Signature, TensorSpec
from modelry.protocols.oip.generated import open_inference_pb2 as pb
from modelry.protocols.oip.plan import check_batch
from modelry.runtime_api.tensors import (
    NUMPY_TYPES,
    count_elements,
    decode_tensor,
    encode_tensor,
)
from modelry.services.inference.noted import units_of_tensors

_CONTENTS: dict[Datatype, str] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
"""Which field of InferTensorContents holds a datatype; FP16 and BF16 travel raw only."""


class InferFrame(NamedTuple):
    """Header and body of an INFER frame, and what its tensors count as."""

    header: bytes
    body: bytes
    units: Mapping[str, int]


def frame_of_request(request: pb.ModelInferRequest, signature: Signature) -> InferFrame:
    """The INFER frame for `request`.

    Raises:
        MalformedBody: raw contents do not match the inputs in number.
        TensorMismatch: tensors that do not fit the signature.
        UnsupportedField: shared memory or classification.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise MalformedBody(
            f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs; expected one each, "
            "or none.",
            param="raw_input_contents",
        )
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for position, tensor in enumerate(request.inputs):
        spec = signature.input(tensor.name)
        data = _input_bytes(tensor, spec, raw[position] if raw else None)
        entries.append(
            {
                "name": spec.name,
                "datatype": spec.datatype.value,
                "shape": list(tensor.shape),
                "size": len(data),
            }
        )
        parts.append(data)
    _check_complete([entry["name"] for entry in entries], signature)
    check_batch(entries, signature)
    wanted = _wanted(request, signature)
    header = orjson.dumps({"inputs": entries, "outputs": wanted})
    return InferFrame(header, b"".join(parts), units_of_tensors(entries, signature))


def _check_complete(names: Sequence[str], signature: Signature) -> None:
    expected = [spec.name for spec in signature.inputs]
    if sorted(names) != sorted(expected):
        raise TensorMismatch(
            f"The request gives the inputs {', '.join(names) or 'none'}; the model expects each "
            f"of these once: {', '.join(expected)}.",
            param="inputs",
        )


def _input_bytes(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: TensorSpec, raw: bytes | None
) -> bytes:
    if tensor.datatype != spec.datatype:
        raise TensorMismatch(
            f"Tensor '{spec.name}' has datatype '{tensor.datatype[:40]}'; the model expects "
            f"{spec.datatype}.",
            param=spec.name,
        )
    if "shared_memory_region" in tensor.parameters:
        raise UnsupportedField(
            f"Tensor '{spec.name}' asks for shared memory, which this server does not offer.",
            param=spec.name,
        )
    shape = list(tensor.shape)
    elements = count_elements(spec.name, shape)
    spec.check_shape(tuple(shape))
    if raw is None:
        return _typed_bytes(tensor, spec, elements)
    if spec.datatype is Datatype.BYTES:
        decode_tensor(spec.name, spec.datatype, shape, raw)
    elif len(raw) != elements * ITEM_BYTES[spec.datatype]:
        raise TensorMismatch(
            f"Tensor '{spec.name}' has {len(raw)} bytes; {spec.datatype} with shape {shape} takes "
            f"{elements * ITEM_BYTES[spec.datatype]}.",
            param=spec.name,
        )
    return raw


def _typed_bytes(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: TensorSpec, elements: int
) -> bytes:
    field = _CONTENTS.get(spec.datatype)
    if field is None:
        raise UnsupportedField(
            f"Tensor '{spec.name}': {spec.datatype} travels in raw_input_contents only.",
            param=spec.name,
        )
    values = getattr(tensor.contents, field)
    if len(values) != elements:
        raise TensorMismatch(
            f"Tensor '{spec.name}' has {len(values)} elements in {field}; its shape "
            f"{list(tensor.shape)} asks for {elements}.",
            param=spec.name,
        )
    if spec.datatype is Datatype.BYTES:
        array = np.empty(elements, dtype=object)
        array[:] = list(values)
        return encode_tensor(array)
    try:
        return np.array(values, dtype=NUMPY_TYPES[spec.datatype]).tobytes()
    except OverflowError as error:
        raise TensorMismatch(
            f"Tensor '{spec.name}': an element does not fit {spec.datatype} ({error}).",
            param=spec.name,
        ) from None


def _wanted(request: pb.ModelInferRequest, signature: Signature) -> list[str]:
    known = {spec.name for spec in signature.outputs}
    wanted = [output.name for output in request.outputs]
    for output in request.outputs:
        if output.name not in known:
            raise TensorMismatch(
                f"Unknown output tensor '{output.name[:80]}'; the model gives: "
                f"{', '.join(sorted(known))}.",
                param="outputs",
            )
        if "classification" in output.parameters:
            raise UnsupportedField("The classification extension is not offered.", param="outputs")
    if len(set(wanted)) != len(wanted):
        raise TensorMismatch("An output is asked for twice.", param="outputs")
    return wanted


def response_of_frame(
    model: str, version: int, request_id: str, header: bytes, body: bytes
) -> pb.ModelInferResponse:
    """The answer that a worker's RESULT frame holds, outputs as raw contents."""
    view = memoryview(body)
    outputs: list[Mapping[str, Any]] = orjson.loads(header)["outputs"]
    response = pb.ModelInferResponse(model_name=model, model_version=str(version), id=request_id)
    position = 0
    for output in outputs:
        tensor = response.outputs.add(name=output["name"], datatype=output["datatype"])
        tensor.shape.extend(output["shape"])
        response.raw_output_contents.append(bytes(view[position : position + output["size"]]))
        position += output["size"]
    return response
