import itertools

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from modelry.domain.errors import DataDamaged
from modelry.training.parity import Exported
from modelry.training.recipes.tabular.growing import Binned, Growth, Slopes, grow
from modelry.training.recipes.tabular.tree_file import write_forest
from modelry.training.recipes.tabular.trees import LEAF, Forest, load_rounds, save_rounds

GROWTH = Growth(depth=1, least_rows=1, leaf_penalty=1.0, rate=1.0)


@st.composite
def tables(draw, least=2):
    """Cells with equal, missing and huge values, and a slope for each row."""
    rows, columns = draw(st.integers(least, 25)), draw(st.integers(1, 3))
    cell = st.one_of(
        st.sampled_from([np.nan, 0.0, -0.0, 1.0, 1e30, -1e30, 1e-30]),
        st.floats(-5, 5, width=32),
    )
    cells = draw(st.lists(cell, min_size=rows * columns, max_size=rows * columns))
    slopes = draw(st.lists(st.integers(-9, 9), min_size=rows, max_size=rows))
    return np.array(cells, np.float32).reshape(rows, columns), np.array(slopes, float)


def grown(cells, slopes, growth=GROWTH):
    rows, columns = (np.arange(count) for count in cells.shape)
    return grow(Binned.of(cells), Slopes(slopes, np.ones(len(slopes))), rows, columns, growth)


def score(slopes):
    return slopes.sum() ** 2 / (len(slopes) + GROWTH.leaf_penalty)


def best_by_trying(cells, slopes):
    """The largest gain over all questions that split the rows."""
    gains = [0.0]
    for at, missing_left in itertools.product(range(cells.shape[1]), (False, True)):
        column = cells[:, at]
        for threshold in np.unique(column[~np.isnan(column)])[:-1]:
            left = np.where(np.isnan(column), missing_left, column <= threshold)
            gains.append(score(slopes[left]) + score(slopes[~left]) - score(slopes))
        left = ~np.isnan(column)
        if left.any() and not left.all():
            gains.append(score(slopes[left]) + score(slopes[~left]) - score(slopes))
    return max(gains)


@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
@given(tables())
def test_the_first_question_is_at_least_as_good_as_any_that_can_be_tried(table):
    cells, slopes = table
    tree = grown(cells, slopes)
    leaves = tree.answers(cells)
    found = 0.0
    if tree.column[0] != LEAF:
        left = leaves == tree.value[tree.left[0]]
        found = score(slopes[left]) + score(slopes[~left]) - score(slopes)
        if tree.value[tree.left[0]] == tree.value[tree.right[0]]:
            return  # the same answer on both sides says nothing of who went where
    assert found >= best_by_trying(cells, slopes) - 1e-6


@given(tables(), st.integers(1, 5))
def test_leaves_have_rows_enough_and_answer_against_the_slope(table, least):
    cells, slopes = table
    growth = Growth(depth=3, least_rows=least, leaf_penalty=0.5, rate=0.1)
    tree = grown(cells, slopes, growth)
    answers = tree.answers(cells)
    if tree.column[0] != LEAF:
        for value in set(answers.tolist()):
            assert (answers == value).sum() >= least
    assert -0.1 * slopes.sum() ** 2 <= 0 <= -(answers * slopes).sum() + 1e-6


@settings(max_examples=20)
@given(tables(least=4))
def test_the_file_answers_as_the_forest_and_a_checkpoint_brings_it_back(tmp_path_factory, table):
    cells, slopes = table
    folder = tmp_path_factory.mktemp("forest")
    growth = Growth(depth=3, least_rows=1, leaf_penalty=1.0, rate=0.3)
    rounds = [[grown(cells, slopes, growth), grown(cells, -slopes, growth)] for _ in range(2)]
    forest = Forest(np.array([0.0, 0.5, -0.25]), rounds, first_output=1)
    write_forest(forest, cells.shape[1], "cells", "logits", folder / "model.onnx")
    answers = Exported(folder / "model.onnx")({"cells": cells})["logits"]
    assert answers == pytest.approx(forest.answers(cells), abs=1e-5)
    save_rounds(rounds, folder / "checkpoint", {"mark": "a"})
    again, about = load_rounds(folder / "checkpoint")
    assert about == {"mark": "a"}
    assert Forest(forest.base, again, 1).digest() == forest.digest()


def test_a_checkpoint_that_is_none_is_told(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"nothing of the kind")
    with pytest.raises(DataDamaged, match="start the job again"):
        load_rounds(tmp_path / "checkpoint")
