"""From a v2 infer request to the frame that a worker takes.

A request's JSON part is turned into a `Plan` once; requests with a byte-identical JSON part
(the usual case for binary tensors) reuse it from a bounded cache, since validation depends on
nothing but that part and the signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput, MalformedBody, TensorMismatch, UnsupportedField
from modelry.domain.signature import ITEM_BYTES, Datatype, Signature
from modelry.protocols.oip.json_data import bytes_of_json
from modelry.runtime_api.tensors import count_elements, decode_tensor
from modelry.services.inference.noted import units_of_tensors

_REQUEST_FIELDS = {"id", "parameters", "inputs", "outputs"}
_INPUT_FIELDS = {"name", "shape", "datatype", "parameters", "data"}
_OUTPUT_FIELDS = {"name", "parameters"}
_REQUEST_PARAMETERS = {"binary_data_output", "binary_data"}
MAX_TENSORS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known from the JSON part alone.

    Attributes:
        frame_header: header of the INFER frame.
        body: the frame's body when all data came as JSON; None when the binary part is it.
        parts: for mixed requests, per input the JSON-given bytes or the size of its binary data.
        binary_bytes: how many bytes must follow the JSON part.
        strings: (offset, size, name, shape) of binary BYTES tensors, to be checked.
        request_id: the caller's `id`, echoed.
        binary_outputs: names of outputs wanted as binary; None stands for all.
        is_binary: the binary part is the frame's body as it is.
        units: what the tensors count as.
    """

    frame_header: bytes
    body: bytes | None
    parts: tuple[bytes | int, ...]
    binary_bytes: int
    strings: tuple[tuple[int, int, str, tuple[int, ...]], ...]
    request_id: str | None
    binary_outputs: frozenset[str] | None
    is_binary: bool
    units: Mapping[str, int]

    def frame_body(self, binary: bytes | memoryview) -> bytes | memoryview:
        """The frame's body for this request's binary part.

        Raises:
            TensorMismatch: the binary part has another length than the JSON part declares.
        """
        if len(binary) != self.binary_bytes:
            raise TensorMismatch(
                f"{len(binary)} bytes follow the JSON part; the binary_data_size of the inputs "
                f"adds up to {self.binary_bytes}."
            )
        for offset, size, name, shape in self.strings:  # only BYTES can be wrong inside
            decode_tensor(name, Datatype.BYTES, shape, binary[offset : offset + size])
        if self.is_binary:
            return binary
        return self._mixed(binary) if self.body is None else self.body

    def _mixed(self, binary: bytes | memoryview) -> bytes:
        joined: list[bytes | memoryview] = []
        position = 0
        for part in self.parts:
            if isinstance(part, bytes):
                joined.append(part)
            else:
                joined.append(binary[position : position + part])
                position += part
        return b"".join(joined)


@dataclass(slots=True)
class _Inputs:
    entries: list[dict[str, Any]] = field(default_factory=list)
    parts: list[bytes | int] = field(default_factory=list)
    strings: list[tuple[int, int, str, tuple[int, ...]]] = field(default_factory=list)
    binary_bytes: int = 0


def make_plan(json_part: bytes | memoryview, signature: Signature) -> Plan:
    """Check the JSON part of a request against `signature`.

    Raises:
        MalformedBody: not JSON, or not of the protocol's shape.
        UnsupportedField: a field that is not part of the protocol.
        TensorMismatch: tensors that do not fit the signature.
    """
    return plan_of(read_json(json_part), signature)


def read_json(json_part: bytes | memoryview) -> Any:
    """The JSON part of a request.

    Raises:
        MalformedBody: not JSON.
    """
    try:
        return orjson.loads(json_part)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The request is not valid JSON: {error}.") from None


def plan_of(asked: Any, signature: Signature) -> Plan:
    """As `make_plan`, of JSON that was read already.

    Raises:
        MalformedBody, UnsupportedField, TensorMismatch: as `make_plan`.
    """
    request = _object(asked, "The request", _REQUEST_FIELDS)
    request_id = request.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= 256):
        raise MalformedBody("'id' must be a string of at most 256 characters.", param="id")
    inputs = _read_inputs(request.get("inputs"), signature)
    wanted, binary_outputs = _read_outputs(request, signature)
    all_json = inputs.binary_bytes == 0 and all(isinstance(part, bytes) for part in inputs.parts)
    return Plan(
        frame_header=orjson.dumps({"inputs": inputs.entries, "outputs": wanted}),
        body=b"".join(part for part in inputs.parts if isinstance(part, bytes))
        if all_json
        else None,
        parts=tuple(inputs.parts),
        binary_bytes=inputs.binary_bytes,
        strings=tuple(inputs.strings),
        request_id=request_id,
        binary_outputs=binary_outputs,
        is_binary=not all_json and all(isinstance(part, int) for part in inputs.parts),
        units=units_of_tensors(inputs.entries, signature),
    )


def _object(value: Any, what: str, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBody(f"{what} must be a JSON object, not {type(value).__name__}.")
    unknown = value.keys() - allowed
    if unknown:
        raise UnsupportedField(
            f"{what} has the unknown field '{min(unknown)[:80]}'; known are: "
            f"{', '.join(sorted(allowed))}.",
            param=min(unknown)[:80],
        )
    return value


def _parameters(holder: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise MalformedBody(f"{what} must be a JSON object.", param="parameters")
    return parameters


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_TENSORS:
        raise MalformedBody(f"{what} must be a list of at most {MAX_TENSORS} tensors.", param=what)
    return value


def _read_inputs(value: Any, signature: Signature) -> _Inputs:
    read = _Inputs()
    seen: set[str] = set()
    for raw in _list(value, "inputs"):
        tensor = _object(raw, "An input", _INPUT_FIELDS)
        name = tensor.get("name")
        if not isinstance(name, str):
            raise MalformedBody("Every input needs a 'name' (string).", param="inputs")
        if name in seen:
            raise TensorMismatch(f"Input '{name[:80]}' is given twice.", param=name[:80])
        seen.add(name)
        _read_input(tensor, name, signature, read)
    missing = [spec.name for spec in signature.inputs if spec.name not in seen]
    if missing:
        raise TensorMismatch(
            f"Missing input tensor '{missing[0]}'; the model expects: "
            f"{', '.join(spec.name for spec in signature.inputs)}.",
            param=missing[0],
        )
    check_batch(read.entries, signature)
    return read


def check_batch(entries: list[dict[str, Any]], signature: Signature) -> None:
    """Refuse inputs whose batch dimensions differ.

    Raises:
        TensorMismatch: they do.
    """
    if signature.batched and len({entry["shape"][0] for entry in entries}) > 1:
        sizes = ", ".join(f"'{entry['name']}': {entry['shape'][0]}" for entry in entries)
        raise TensorMismatch(f"The first dimension of all inputs must be equal; it is {sizes}.")


def _read_input(tensor: Mapping[str, Any], name: str, signature: Signature, read: _Inputs) -> None:
    spec = signature.input(name)
    if tensor.get("datatype") != spec.datatype:
        raise TensorMismatch(
            f"Tensor '{name}' has datatype {tensor.get('datatype')!r}; the model expects "
            f"{spec.datatype}.",
            param=name,
        )
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) > 32:
        raise MalformedBody(f"Tensor '{name}' needs a 'shape' (list of integers).", param=name)
    elements = count_elements(name, shape)
    spec.check_shape(tuple(shape))
    parameters = _parameters(tensor, "An input's parameters")
    if "shared_memory_region" in parameters:
        raise UnsupportedField(
            f"Tensor '{name}' asks for shared memory, which this server does not offer; send "
            "the data as binary.",
            param=name,
        )
    _object(parameters, "An input's parameters", {"binary_data_size"})
    size = parameters.get("binary_data_size")
    if (size is None) == (tensor.get("data") is None):
        raise MalformedBody(
            f"Tensor '{name}' needs either 'data' or the parameter 'binary_data_size'.", param=name
        )
    if size is None:
        part: bytes | int = bytes_of_json(name, spec.datatype, shape, tensor["data"])
        length = len(part) if isinstance(part, bytes) else part
    else:
        part = length = _binary_size(name, spec.datatype, elements, size)
        if spec.datatype is Datatype.BYTES:
            read.strings.append((read.binary_bytes, length, name, tuple(shape)))
        read.binary_bytes += length
    read.parts.append(part)
    read.entries.append(
        {"name": name, "datatype": spec.datatype.value, "shape": shape, "size": length}
    )


def _binary_size(name: str, datatype: Datatype, elements: int, size: Any) -> int:
    if type(size) is not int or size < 0:
        raise MalformedBody(f"Tensor '{name}': binary_data_size must be >= 0.", param=name)
    if datatype is not Datatype.BYTES and size != elements * ITEM_BYTES[datatype]:
        raise TensorMismatch(
            f"Tensor '{name}': binary_data_size is {size}; {datatype} with its shape takes "
            f"{elements * ITEM_BYTES[datatype]} bytes.",
            param=name,
        )
    return size


def _read_outputs(
    request: Mapping[str, Any], signature: Signature
) -> tuple[list[str], frozenset[str] | None]:
    """Names of the wanted outputs (empty: all) and which of them as binary (None: all)."""
    parameters = _object(
        _parameters(request, "The request's parameters"),
        "The request's parameters",
        _REQUEST_PARAMETERS,
    )
    by_default = _flag(parameters, "binary_data_output")
    if request.get("outputs") is None:
        return [], None if by_default else frozenset()
    known = {spec.name for spec in signature.outputs}
    wanted: list[str] = []
    binary: set[str] = set()
    for raw in _list(request["outputs"], "outputs"):
        output = _object(raw, "An output", _OUTPUT_FIELDS)
        name = output.get("name")
        if not isinstance(name, str) or name not in known:
            raise TensorMismatch(
                f"Unknown output tensor {str(name)[:80]!r}; the model gives: "
                f"{', '.join(sorted(known))}.",
                param="outputs",
            )
        wanted.append(name)
        own = _parameters(output, "An output's parameters")
        if own.get("classification"):
            raise UnsupportedField(
                "The classification extension is not offered here; use POST /v1/classify.",
                param="classification",
            )
        _object(own, "An output's parameters", {"binary_data", "classification"})
        if _flag(own, "binary_data") if "binary_data" in own else by_default:
            binary.add(name)
    if len(set(wanted)) != len(wanted):
        raise InvalidInput("An output is asked for twice.", param="outputs")
    return wanted, frozenset(binary)


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise MalformedBody(f"'{name}' must be true or false.", param=name)
    return value


def read_header_length(header: bytes | None) -> int | None:
    """The value of `Inference-Header-Content-Length`: None when all of the body is JSON.

    Raises:
        MalformedBody: not a number.
    """
    if header is None:
        return None
    if not header.isdigit() or len(header) > 12:
        raise MalformedBody(
            f"Inference-Header-Content-Length is {header[:20]!r}; expected the byte length of the "
            "JSON part.",
            param="inference-header-content-length",
        )
    return int(header)


def split_body(body: bytes, json_bytes: int | None) -> tuple[bytes, memoryview]:
    """The JSON part and the binary part of a body.

    Args:
        body: the whole body.
        json_bytes: length of the JSON part, None when all is JSON.

    Raises:
        MalformedBody: more than the body has.
    """
    if json_bytes is None:
        return body, memoryview(b"")
    if json_bytes > len(body):
        raise MalformedBody(
            f"Inference-Header-Content-Length is {json_bytes}; the body has {len(body)} bytes.",
            param="inference-header-content-length",
        )
    return body[:json_bytes], memoryview(body)[json_bytes:]
