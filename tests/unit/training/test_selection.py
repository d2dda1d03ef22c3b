import pytest

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription, Schema
from modelry.domain.errors import InvalidInput
from modelry.training.options import LoopParameters, SplitParameters
from modelry.training.recipes.image_classification import ImageClassification
from modelry.training.selection import CLASS_TYPES, Splits, choose_column, choose_splits

IMAGE = Column("image", ColumnType.IMAGE)
LABEL = Column("label", ColumnType.TEXT, ColumnRole.LABEL, classes=("cat", "dog"))


def described(*columns, **rows):
    return DataDescription("pets@2", "sha256:0", Schema(columns), rows or {"train": 10})


@pytest.mark.parametrize(
    ("rows", "options", "splits"),
    [
        ({"train": 100, "validation": 10}, {}, Splits("train", "validation", 0)),
        ({"train": 100, "test": 10}, {}, Splits("train", None, 10)),
        ({"train": 100, "test": 10}, {"validation_split": "test"}, Splits("train", "test", 0)),
        ({"all": 100}, {"validation_share": 0.25}, Splits("all", None, 25)),
        ({"all": 5}, {}, Splits("all", None, 0)),
        ({"validation": 50}, {}, Splits("validation", None, 5)),
    ],
)
def test_splits(rows, options, splits):
    assert choose_splits(described(**rows), SplitParameters(**options)) == splits


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        ({"a": 1, "b": 1}, {}, "no split 'train'; it has: a, b"),
        ({"train": 0}, {}, "'train' of pets@2 has no rows"),
        ({"train": 1, "validation": 0}, {}, "'validation' of pets@2 has no rows"),
        ({"train": 1}, {"validation_split": "tset"}, "no split 'tset'"),
        ({"train": 1}, {"validation_split": "train"}, "no split 'train' beside 'train'"),
    ],
)
def test_splits_that_cannot_be_used(rows, options, told):
    with pytest.raises(InvalidInput, match=told):
        choose_splits(described(**rows), SplitParameters(**options))


def choose(data, named=None):
    return choose_column(data, ColumnRole.LABEL, CLASS_TYPES, named, "label_column")


def test_the_only_column_of_a_role_is_taken():
    assert choose(described(IMAGE, LABEL)) == LABEL


def test_a_named_column_is_taken_whatever_its_role():
    other = Column("sort", ColumnType.TEXT, ColumnRole.IGNORED)
    assert choose(described(IMAGE, LABEL, other), "sort") == other


@pytest.mark.parametrize(
    ("columns", "named", "told"),
    [
        ([IMAGE], None, r"has no columns of role 'label'.*image \(image, feature\)"),
        ([LABEL, Column("l", ColumnType.INTEGER, ColumnRole.LABEL)], None, "has 2 columns"),
        ([IMAGE, LABEL], "image", "'image', which is of type image"),
        ([IMAGE, LABEL], "lable", "'lable', which is no such column"),
        ([Column("l", ColumnType.TEXT, ColumnRole.LABEL, is_nullable=True)], None, "may lack"),
    ],
)
def test_columns_that_cannot_be_used(columns, named, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        choose(described(*columns), named)
    assert caught.value.param == "label_column"


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (Column("x", ColumnType.TENSOR, shape=(28, 28), dtype="float32"), "arrays of float32"),
        (Column("x", ColumnType.TENSOR, shape=(28, 28, 4), dtype="uint8"), r"\[28, 28, 4\]"),
        (Column("x", ColumnType.TENSOR, shape=(784,), dtype="uint8"), r"\[784\]"),
        (Column("x", ColumnType.TEXT), "no columns of role 'feature'"),
    ],
)
def test_data_that_is_no_images_is_refused_before_anything_is_queued(column, told):
    recipe = ImageClassification()
    with pytest.raises(InvalidInput, match=told):
        recipe.check(described(column, LABEL), recipe.parameters())


def test_parameters_are_checked_and_frozen():
    for wrong in ({"epochs": 0}, {"learning_rate": 0}, {"epochz": 1}, {"optimiser": "magic"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LoopParameters(**wrong)
