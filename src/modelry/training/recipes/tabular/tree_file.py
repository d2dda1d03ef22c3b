"""A forest as an ONNX file: one `TreeEnsembleRegressor`, as every converter of trees writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from modelry.training.recipes.tabular.trees import LEAF, Forest, Tree

OPSET = 18
TREE_OPSET = 3
IR_VERSION = 10


def write_forest(forest: Forest, columns: int, name_in: str, name_out: str, file: Path) -> None:
    """Write a model that takes cells (n, columns), float32 with NaN for missing ones.

    Args:
        forest: what it answers.
        columns: how many cells a row has.
        name_in: of its input.
        name_out: of its output (n, outputs).
        file: where to.
    """
    outputs = len(forest.base)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [name_in],
        [name_out],
        domain="ai.onnx.ml",
        n_targets=outputs,
        base_values=[float(one) for one in forest.base],
        **_attributes(forest),
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info(name_in, TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor_value_info(name_out, TensorProto.FLOAT, ["n", outputs])],
    )
    model = helper.make_model(
        graph,
        producer_name="modelry",
        ir_version=IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid("ai.onnx.ml", TREE_OPSET),
        ],
    )
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _attributes(forest: Forest) -> dict[str, Any]:
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
             "missing_value_tracks_true")  # fmt: skip
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    leaves: dict[str, list[Any]] = {
        f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")
    }
    number = 0
    for trees in forest.rounds:
        for at, tree in enumerate(trees):
            _add(tree, number, forest.first_output + at, nodes, leaves)
            number += 1
    return {**nodes, **leaves}


def _add(
    tree: Tree,
    number: int,
    output: int,
    nodes: dict[str, list[Any]],
    leaves: dict[str, list[Any]],
) -> None:
    count = len(tree.column)
    is_leaf = tree.column == LEAF
    nodes["nodes_treeids"] += [number] * count
    nodes["nodes_nodeids"] += range(count)
    nodes["nodes_featureids"] += np.where(is_leaf, 0, tree.column).tolist()
    nodes["nodes_values"] += tree.threshold.tolist()
    nodes["nodes_modes"] += ["LEAF" if one else "BRANCH_LEQ" for one in is_leaf]
    nodes["nodes_truenodeids"] += tree.left.tolist()
    nodes["nodes_falsenodeids"] += tree.right.tolist()
    nodes["nodes_missing_value_tracks_true"] += tree.missing_left.astype(int).tolist()
    ends = np.flatnonzero(is_leaf).tolist()
    leaves["target_treeids"] += [number] * len(ends)
    leaves["target_nodeids"] += ends
    leaves["target_ids"] += [output] * len(ends)
    leaves["target_weights"] += tree.value[is_leaf].tolist()
