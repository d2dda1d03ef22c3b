"""How a version is served: a table of vectors and a mean, behind a tokenizer that cuts words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from modelry.domain.errors import NotSupported
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec

TASK = "text-embedding"
IDS, MASK, OUTPUT = "input_ids", "attention_mask", "embedding"
TOKENIZER_ROLE = "tokenizer"
MAX_WORDS = 8192
MAX_BYTES = 2 * 10**9
OPSET, IR_VERSION = 18, 9


def pre() -> list[Any]:
    """Words as numbers."""
    return [{"tokenize": {"max_length": MAX_WORDS}}]


def post() -> list[Any]:
    """The mean of the words' vectors at length 1."""
    return ["l2_normalize"]


def signature(dimensions: int) -> Signature:
    """What the exported model takes and gives."""
    return Signature(
        tuple(TensorSpec(name, Datatype.INT64, (DYNAMIC, DYNAMIC)) for name in (IDS, MASK)),
        (TensorSpec(OUTPUT, Datatype.FP32, (DYNAMIC, dimensions)),),
        batched=True,
    )


def write_model(table: npt.NDArray[np.float32], file: Path) -> None:
    """Write the mean of rows of a table (words, dimensions) as ONNX: `input_ids` choose them.

    Raises:
        NotSupported: the table is too large for one file.
    """
    if table.nbytes > MAX_BYTES:
        raise NotSupported(
            f"{len(table)} vectors of {table.shape[1]} numbers are {table.nbytes} bytes; one ONNX "
            f"file holds at most {MAX_BYTES}. Choose a smaller 'max_vocabulary' or fewer "
            "'dimensions'."
        )
    nodes = [
        helper.make_node("Gather", ["table", IDS], ["vectors"], axis=0),
        helper.make_node("Cast", [MASK], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["columns"]),
        helper.make_node("Mul", ["vectors", "columns"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "words"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "words"], ["number"], keepdims=1),
        helper.make_node("Max", ["number", "one"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], [OUTPUT]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "table": table,
        "last": np.array([2], np.int64),
        "words": np.array([1], np.int64),
        "one": np.array(1, np.float32),
    }
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "words"])
        for name in (IDS, MASK)
    ]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", table.shape[1]])
    graph = helper.make_graph(
        nodes,
        "word-embeddings",
        inputs,
        [output],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    file.write_bytes(model.SerializeToString(deterministic=True))
