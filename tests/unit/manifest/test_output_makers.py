"""The operator that makes an output is read from the graph, and from nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper
from tests.support.onnx_models import model_of, tiny_cnn

from modelry.manifest.inspect.files import inspect_file


def metadata_of(model: Any, folder: Path) -> dict[str, str]:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return dict(inspect_file(path).metadata)


@pytest.mark.parametrize("claim", ["Softmax", ""])
def test_the_maker_is_the_last_node_whatever_the_metadata_claim(tmp_path: Path, claim: str) -> None:
    model = tiny_cnn()
    model.metadata_props.add(key="made_by.y", value=claim)
    model.metadata_props.add(key="made_by.z", value=claim)
    found = metadata_of(model, tmp_path)
    assert {key: word for key, word in found.items() if key.startswith("made_by")} == {
        "made_by.y": "Gemm"
    }


def test_nodes_within_branches_make_no_output_of_the_model(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        return helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"])],
            operator,
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        )

    node = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch("Relu"), else_branch=branch("Softmax")
    )
    model = model_of(
        [node],
        {"x": (TensorProto.FLOAT, ["n", 2]), "flag": (TensorProto.BOOL, [])},
        {"y": (TensorProto.FLOAT, ["n", 2])},
    )
    assert metadata_of(model, tmp_path)["made_by.y"] == "If"
