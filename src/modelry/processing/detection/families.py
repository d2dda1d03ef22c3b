"""All families by the names that manifests use."""

from __future__ import annotations

from modelry.processing.detection.distances import DISTANCES
from modelry.processing.detection.family import Family
from modelry.processing.detection.finished import FINISHED, HEAT_MAP
from modelry.processing.detection.priors import PRIORS
from modelry.processing.detection.yolo import YOLOV5, YOLOV8, YOLOX

FAMILIES: dict[str, Family] = {
    family.name: family for family in (YOLOV5, YOLOV8, YOLOX, DISTANCES, PRIORS, FINISHED, HEAT_MAP)
}
