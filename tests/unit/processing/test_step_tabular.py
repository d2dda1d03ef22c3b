import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.processing import ANY, graph_of

from modelry.domain.errors import InvalidInput, ManifestInvalid
from modelry.domain.signature import Datatype
from modelry.processing.columns import Column

COLUMNS = [
    "age",
    {"name": "size", "type": "category", "values": ["S", "M", "L"]},
    {"name": "visits", "type": "integer"},
    {"name": "member", "type": "boolean", "default": False},
    {"name": "income", "default": math.nan},
]
ROW = {"age": 31.5, "size": "M", "visits": 3, "member": True, "income": 100}


def table(columns=COLUMNS, inputs=(("x", Datatype.FP32, (ANY, 5)),)):
    return graph_of(pre=[{"columns": columns}], inputs=inputs)


def test_cells_go_into_the_declared_order_and_type():
    inputs, context = table().before(
        [
            {"row": {name: ROW[name] for name in reversed(ROW)}},
            {"row": [1, "L", 0, None, None]},
            {"row": {"age": 2, "size": "S", "visits": -4}},
        ]
    )
    assert inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(
        inputs["x"],
        [[31.5, 1, 3, 1, 100], [1, 2, 0, 0, np.nan], [2, 0, -4, 0, np.nan]],
    )
    assert context.count == 3


def test_columns_can_go_into_inputs_of_their_own():
    graph = table(
        [
            {"name": "a", "type": "text"},
            {"name": "b", "type": "boolean", "input": "flags"},
            {"name": "c", "type": "boolean", "input": "flags"},
            {"name": "d", "type": "integer"},
        ],
        [
            ("d", Datatype.INT32, (ANY,)),
            ("flags", Datatype.BOOL, (ANY, 2)),
            ("a", Datatype.BYTES, (ANY, 1)),
        ],
    )
    inputs, _ = graph.before([{"row": ["é", True, False, 7]}, {"row": ["", False, False, -7]}])
    assert inputs["a"].tolist() == [["é"], [""]]
    assert inputs["flags"].dtype == np.bool_
    assert inputs["flags"].tolist() == [[True, False], [False, False]]
    assert inputs["d"].dtype == np.int32
    assert inputs["d"].tolist() == [7, -7]


def test_booleans_fit_integers():
    graph = table([{"name": "b", "type": "boolean"}], [("x", Datatype.INT64, (ANY, 1))])
    assert graph.before([{"row": [True]}])[0]["x"].tolist() == [[1]]


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"age": None}, "age", "'age' is missing; expected a number"),
        ({"age": "31"}, "age", "is '31'; expected a number"),
        ({"age": True}, "age", "is True"),
        ({"age": math.nan}, "age", "is nan"),
        ({"age": math.inf}, "age", "is inf"),
        ({"age": 10**400}, "age", "more than 77 digits"),
        ({"age": 1e300}, None, "too large"),
        ({"age": [1]}, "age", "is [1]"),
        ({"size": "XL"}, "size", "one of 'S', 'M', 'L'"),
        ({"size": 1}, "size", "is 1"),
        ({"size": ["S"]}, "size", "is ['S']"),
        ({"visits": 1.5}, "visits", "expected an integer"),
        ({"visits": 2**63}, "visits", "expected an integer"),
        ({"member": 1}, "member", "true or false"),
        ({"agee": 1}, "agee", "Did you mean 'age'?"),
        ({5: 1}, "5", "unknown column 5"),
    ],
)
def test_cells_that_do_not_fit_are_named(change, param, words):
    with pytest.raises(InvalidInput) as caught:
        table().before([{"row": ROW}, {"row": {**ROW, **change}}])
    assert words in caught.value.message
    assert caught.value.param == param
    if param:
        assert caught.value.message.startswith("Item 2 of 2: ")


@pytest.mark.parametrize("row", [None, 5, "abc", b"abc", [], [1, 2], [[1, 2, 3, 4, 5]]])
def test_rows_that_are_none_are_refused(row):
    with pytest.raises(InvalidInput) as caught:
        table().before([{"row": row}])
    assert caught.value.param == "row"


@pytest.mark.parametrize(
    ("columns", "inputs", "words"),
    [
        ([], None, "list of 1 to"),
        ("age", None, "list of 1 to"),
        (["a", "a"], None, "declared twice"),
        ([{"name": "a", "type": "category"}], None, "'values' are needed"),
        ([{"name": "a", "values": [1]}], None, "'values' are needed"),
        ([{"name": "a", "type": "category", "values": ["x", "x"]}], None, "value twice"),
        ([{"name": "a", "type": "float"}], None, "'number', 'integer'"),
        ([{"name": "a", "typ": "number"}], None, "Did you mean 'type'?"),
        ([{"type": "number"}], None, "'name' is missing"),
        ([{"name": "a", "default": "x"}], None, "'default' is 'x'"),
        ([{"name": "a", "type": "integer", "default": math.nan}], None, "'default' is 'nan'"),
        (["a", "b"], None, "takes 5 column(s), but 2"),
        (["a"], [("x", Datatype.FP32, (ANY, 1, 1))], "[n, columns]"),
        (["a"], [("x", Datatype.INT64, (ANY, 1))], "of type 'number'"),
        ([{"name": "a", "type": "text"}], [("x", Datatype.FP32, (ANY, 1))], "of type 'text'"),
        (["a"], [(name, Datatype.FP32, (ANY, 1)) for name in "ab"], "input 'b'"),
        (["a", "c"], [(name, Datatype.FP32, (ANY, 1)) for name in "ab"], "it has: a, b"),
    ],
)
def test_columns_that_do_not_fit_the_model_are_refused(columns, inputs, words):
    with pytest.raises(ManifestInvalid) as caught:
        table(columns, inputs or (("x", Datatype.FP32, (ANY, 5)),))
    assert words in caught.value.message


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*ROW, "zzz"]), cells), min_size=1, max_size=3))
def test_any_rows_become_numbers_or_are_refused(rows):
    try:
        inputs, _ = table().before([{"row": {**ROW, **row}} for row in rows])
    except InvalidInput:
        return
    assert inputs["x"].shape == (len(rows), 5)
    assert np.isfinite(inputs["x"][:, :4]).all()


number_cells = (
    st.floats() | st.integers() | st.sampled_from([2**63 - 1, 2**63, -(2**63), True, None, "1"])
)


@settings(deadline=None)
@given(st.lists(st.tuples(number_cells, number_cells), min_size=1, max_size=3))
def test_columns_of_numbers_are_read_together_as_one_cell_after_the_other_is(rows):
    graph = table(["a", "b"], [("x", Datatype.FP64, (ANY, 2))])
    fits = Column("a", "number").fits
    if all(fits(cell) for row in rows for cell in row):
        inputs, _ = graph.before([{"row": list(row)} for row in rows])
        assert inputs["x"].tolist() == [[float(cell) for cell in row] for row in rows]
    else:
        with pytest.raises(InvalidInput):
            graph.before([{"row": list(row)} for row in rows])


def test_a_graph_tells_which_column_each_number_of_a_row_comes_from():
    columns = [{"name": "a", "input": "y"}, "b", {"name": "c", "input": "y"}]
    inputs = [("y", Datatype.FP32, (ANY, 2)), ("b", Datatype.FP32, (ANY,))]
    assert table(columns, inputs).column_places == {"y": (0, 2), "b": (1,)}
    assert graph_of(inputs=[("x", Datatype.FP32, (ANY, 3))]).column_places is None


def test_many_rows_take_no_time():
    rows = [{"row": [at, "S", at, True, at]} for at in range(20_000)]
    inputs, _ = table().before(rows)
    assert inputs["x"][:, 0].tolist() == list(range(20_000))
