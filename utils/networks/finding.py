"""How well cells are found and outlined, against what people drew; with the published controls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.cells import find_cells, outline_found
from utils.networks import baselines
from utils.networks.cell_sets import Box, ReferencePicture

RGBImage = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Say = Callable[[str], None]
LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Answer:
    """Cells that were found in a picture.

    Attributes
    ----------
    boxes : list of (top, left, bottom, right)
    centroids : list of (row, column)
    nuclei, cells : (H, W) ndarray of bool
        All nuclei, and all cells, of the picture.
    nc_ratio : float or None
        Of the cell nearest the middle.
    """

    boxes: list[Box]
    centroids: list[tuple[float, float]]
    nuclei: Mask
    cells: Mask
    nc_ratio: float | None


Finder = Callable[[RGBImage], Answer]


@dataclass
class _Sums:
    """What is added up over a set."""

    right: int = 0
    found: int = 0
    wanted: int = 0
    errors: list[int] = field(default_factory=list)
    nucleus_dice: list[float] = field(default_factory=list)
    cell_dice: list[float] = field(default_factory=list)
    ratio_errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def evaluate_finding(
    pictures: Sequence[ReferencePicture], *, controls: bool = True, say: Say = lambda line: None
) -> dict[str, Any]:
    """Measure the project's way and the controls on one set.

    Parameters
    ----------
    pictures : sequence of ReferencePicture
    controls : bool
        Also the published chain on plain grey, and a plain nucleus map.
    say : callable

    Returns
    -------
    report : dict
        As `flask cells evaluate --json` prints it. Where the set has boxes a
        detection is right whose box overlaps a white cell's with an
        intersection over union of 0.5 or more, each box once; else whose
        centroid lies in a mask, each connected cell once. In a tile (one cell
        in the middle) nucleus, cell and ratio are those of that cell.
    """
    finders: dict[str, Finder] = {"this": _ours}
    if controls:
        finders |= {"grey_otsu": _grey_otsu, "plain_nucleus_map": _nucleus_map}
    reports = {}
    for name, finder in finders.items():
        say(f"{name.replace('_', ' ')}: {len(pictures)} pictures")
        reports[name] = _measure(pictures, finder)
    boxed = any(p.boxes is not None for p in pictures)
    rule = "box overlap of 0.5 or more" if boxed else "centroid in a mask"
    report = {"n": len(pictures), "detection_rule": rule, **reports.pop("this")}
    return report | ({"controls": reports} if controls else {})


def _measure(pictures: Sequence[ReferencePicture], finder: Finder) -> dict[str, Any]:
    sums = _Sums()
    for picture in pictures:
        pixels = picture.pixels()
        started = time.perf_counter()
        answer = finder(pixels)
        elapsed = time.perf_counter() - started
        sums.seconds.append(elapsed / (pixels.shape[0] * pixels.shape[1]))
        masks = picture.masks()
        if picture.boxes is not None:
            wanted, right = len(picture.boxes), _matches(answer.boxes, picture.boxes)
        elif masks is not None:
            wanted, right = _hits(answer.centroids, masks[1])
        else:
            continue
        sums.wanted += wanted
        sums.right += right
        sums.found += len(answer.boxes)
        sums.errors.append(len(answer.boxes) - wanted)
        if masks is not None and masks[0].shape == pixels.shape[:2]:
            _compare_masks(sums, answer, masks, wanted)
    return _report(sums)


def _compare_masks(sums: _Sums, answer: Answer, masks: tuple[Mask, Mask], wanted: int) -> None:
    nucleus, cell = masks
    if not nucleus.any():
        return
    sums.nucleus_dice.append(dice(answer.nuclei, nucleus))
    sums.cell_dice.append(dice(answer.cells, cell))
    if wanted == 1:
        true = np.count_nonzero(nucleus) / np.count_nonzero(cell)
        # A cell that was not found has the worst ratio there is.
        sums.ratio_errors.append(1.0 if answer.nc_ratio is None else abs(answer.nc_ratio - true))


def _report(sums: _Sums) -> dict[str, Any]:
    precision = sums.right / sums.found if sums.found else 0.0
    recall = sums.right / sums.wanted if sums.wanted else 0.0
    both = precision + recall
    errors = np.array(sums.errors, dtype=np.float64)
    return {
        "count_mae": float(np.abs(errors).mean()) if errors.size else None,
        "count_bias": float(errors.mean()) if errors.size else None,
        "detection": {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / both if both else 0.0,
        },
        "nucleus_dice": _mean(sums.nucleus_dice),
        "cell_dice": _mean(sums.cell_dice),
        "nc_ratio_mae": _mean(sums.ratio_errors),
        "ms_per_megapixel": float(np.median(sums.seconds)) * 1e9 if sums.seconds else None,
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def dice(found: Mask, wanted: Mask) -> float:
    """Twice the common area over the sum of both; 1 where both are empty.

    References
    ----------
    .. [1] Dice (1945), doi:10.2307/1932409
    """
    total = np.count_nonzero(found) + np.count_nonzero(wanted)
    return 2.0 * np.count_nonzero(found & wanted) / total if total else 1.0


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, height) * max(0.0, width)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common) if areas > common else 0.0


def _matches(found: Sequence[Box], wanted: Sequence[Box]) -> int:
    """Pairs of boxes that overlap enough, the best first, each box once."""
    pairs = sorted(
        ((overlap(a, b), i, j) for i, a in enumerate(found) for j, b in enumerate(wanted)),
        reverse=True,
    )
    left, right = set(range(len(found))), set(range(len(wanted)))
    matched = 0
    for share, i, j in pairs:
        if share >= LEAST_OVERLAP and i in left and j in right:
            left.remove(i)
            right.remove(j)
            matched += 1
    return matched


def _hits(centroids: Sequence[tuple[float, float]], cells: Mask) -> tuple[int, int]:
    """How many cells there are, and how many of them hold a centroid."""
    count, regions = cv2.connectedComponents(cells.astype(np.uint8))
    height, width = cells.shape
    hit = {
        int(regions[min(height - 1, round(row)), min(width - 1, round(col))])
        for row, col in centroids
    }
    return count - 1, len(hit - {0})


def _ours(pixels: RGBImage) -> Answer:
    outlines = outline_found(pixels, find_cells(pixels))
    shape = (pixels.shape[0], pixels.shape[1])
    nuclei, cells = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for outline in outlines:
        nuclei |= outline.place(outline.nucleus, shape)
        cells |= outline.place(outline.cell, shape)
    centres = [outline.centre_px for outline in outlines]
    middle = _nearest_the_middle(centres, shape)
    return Answer(
        boxes=[outline.box for outline in outlines],
        centroids=centres,
        nuclei=nuclei,
        cells=cells,
        nc_ratio=None if middle is None else outlines[middle].nc_ratio,
    )


def _nearest_the_middle(
    centres: Sequence[tuple[float, float]], shape: tuple[int, int]
) -> int | None:
    if not centres:
        return None
    away = [np.hypot(row - shape[0] / 2, col - shape[1] / 2) for row, col in centres]
    return int(np.argmin(away))


def _grey_otsu(pixels: RGBImage) -> Answer:
    return _of_labels(baselines.published_watershed(pixels))


def _nucleus_map(pixels: RGBImage) -> Answer:
    return _of_labels(baselines.plain_nucleus_map(pixels))


def _of_labels(labels: NDArray[np.int32]) -> Answer:
    """A control's answer: it knows one region a cell, and no cytoplasm."""
    boxes, centres = [], []
    for label in range(1, int(labels.max(initial=0)) + 1):
        rows, cols = np.nonzero(labels == label)
        if rows.size:
            boxes.append((float(rows.min()), float(cols.min()), rows.max() + 1.0, cols.max() + 1.0))
            centres.append((float(rows.mean()), float(cols.mean())))
    mask = labels > 0
    return Answer(boxes, centres, mask, mask, 1.0 if boxes else None)
