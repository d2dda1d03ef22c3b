"""What the recipe says of datasets, before anything is read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription, Schema
from modelry.domain.errors import InvalidInput
from modelry.training.recipes.object_detection import DetectionParameters, ObjectDetection

IMAGE = Column("image", ColumnType.IMAGE)
BOXES = Column("objects", ColumnType.BOXES, ColumnRole.LABEL, classes=("ball", "box"))


def check(*columns: Column, rows: dict[str, int] | None = None, **parameters: Any) -> None:
    found = DataDescription("things@1", "sha256:0", Schema(columns), rows or {"train": 3})
    ObjectDetection().check(found, DetectionParameters(**parameters))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ((IMAGE,), "no columns of role 'label' and type boxes"),
        ((BOXES,), "no columns of role 'feature' and type image"),
        ((IMAGE, BOXES, Column("other", ColumnType.IMAGE)), "2 columns .* 'image_column'"),
        ((IMAGE, Column("objects", ColumnType.BOXES, ColumnRole.LABEL)), "names no classes"),
    ],
)
def test_datasets_without_images_and_boxes_are_refused(columns: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check(*columns)


def test_one_of_several_columns_can_be_named() -> None:
    check(IMAGE, BOXES, Column("other", ColumnType.IMAGE), image_column="other")


def test_more_pixels_than_memory_are_refused_before_anything_is_read() -> None:
    rows = {"train": 10_000, "validation": 1000}
    check(IMAGE, BOXES, rows=rows)
    with pytest.raises(InvalidInput, match="11000 images of 1280 x 1280 pixels take 51562 MiB"):
        check(IMAGE, BOXES, rows=rows, size=1280)


def test_sizes_are_multiples_of_32() -> None:
    with pytest.raises(ValidationError, match="expected a multiple of 32, such as 96"):
        DetectionParameters(size=100)
