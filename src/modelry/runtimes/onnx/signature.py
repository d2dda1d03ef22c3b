"""The signature of an ONNX Runtime session in the domain's words."""

from __future__ import annotations

import onnxruntime as ort

from modelry.domain.errors import NotSupported
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtimes.tensor_signature import plain_shape, shares_batch_dimension

DATATYPES: dict[str, Datatype] = {
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(float16)": Datatype.FP16,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(bool)": Datatype.BOOL,
    "tensor(string)": Datatype.BYTES,
}
"""Open Inference Protocol datatypes by ONNX Runtime's names."""


def signature_of(session: ort.InferenceSession) -> Signature:
    """Inputs and outputs of `session`; initialisers that could be overridden are left out.

    Raises:
        NotSupported: one is not a dense tensor, or of an element type that cannot be sent.
    """
    inputs = session.get_inputs()
    outputs = session.get_outputs()
    return Signature(
        tuple(_spec(value, "Input") for value in inputs),
        tuple(_spec(value, "Output") for value in outputs),
        shares_batch_dimension(
            [value.shape or [] for value in inputs], [value.shape or [] for value in outputs]
        ),
    )


def _spec(value: ort.NodeArg, what: str) -> TensorSpec:
    datatype = DATATYPES.get(value.type)
    if datatype is None:
        raise NotSupported(
            f"{what} '{value.name}' is of ONNX type {value.type}, which no request can carry. "
            "Export the model with dense float, integer, boolean or string tensors (scikit-learn "
            "classifiers: options={'zipmap': False}).",
            param=value.name,
        )
    return TensorSpec(value.name, datatype, plain_shape(value.shape or []))
