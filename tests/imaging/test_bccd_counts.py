"""Counts on real fields, against the boxes that people drew."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.imaging.quality import assess
from utils.imaging.watershed import segment

DATASETS = Path(__file__).resolve().parents[3] / "shared" / "datasets"
FIELDS = sorted((DATASETS / "bccd" / "images").glob("*.jpg"))
SUBSET = FIELDS[::4]

pytestmark = pytest.mark.skipif(not FIELDS, reason="../shared/datasets/bccd is not there")


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def white_cells(path: Path) -> int:
    boxes = ElementTree.parse(path.parents[1] / "annotations" / f"{path.stem}.xml").iter("object")
    return sum(box.findtext("name") == "WBC" for box in boxes)


def count_in_plain_grey(pixels: np.ndarray) -> int:
    """The published chain to the letter: grey, Otsu, opening, distance, maxima as seeds."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    _, mask = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8), iterations=2)
    distance = cv2.GaussianBlur(cv2.distanceTransform(mask, cv2.DIST_L2, 5), (0, 0), 2)
    highest = cv2.dilate(distance, np.ones((41, 41), np.uint8))
    seeds = (distance >= highest - 1e-3) & (distance > 10)
    return cv2.connectedComponents(seeds.astype(np.uint8))[0] - 1


def test_counts_on_real_fields_and_the_control() -> None:
    assert len(SUBSET) >= 60
    wanted = np.array([white_cells(path) for path in SUBSET])
    found = np.array([segment(read(path)).count for path in SUBSET])
    grey = np.array([count_in_plain_grey(read(path)) for path in SUBSET])
    error, control = np.abs(found - wanted).mean(), np.abs(grey - wanted).mean()
    print(f"mean absolute error a field: {error:.3f}; plain grey: {control:.1f}")
    assert error <= 0.2
    assert control > 5.0


def test_real_fields_of_every_class_hold_cells_and_raise_no_flag() -> None:
    for folder in sorted((DATASETS / "all4").iterdir()):
        paths = sorted(folder.glob("*.jpg"))[5::60]
        counts = []
        for path in paths:
            pixels = read(path)
            found = segment(pixels)
            counts.append(found.count)
            assert assess(pixels, found.labels > 0).flags == (), path.name
        assert min(counts) >= 1
        assert np.median(counts) >= 3
