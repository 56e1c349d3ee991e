"""Labelled sets of cells on disk: single cells with masks, and fields with boxes."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.errors import DatasetInvalid
from utils.networks.dataset import SUFFIXES, file_number, load_pixels

# Masks hold 255 for the nucleus and 128 or 155 for the cytoplasm, with blurred
# rims where they were stored with losses: halfway between the levels.
NUCLEUS_FROM, CELL_FROM = 206, 64

Box = tuple[float, float, float, float]

# Classes of the known sets by the codes of marrow cells; others are left out.
CODES = {
    "1": "NGS",
    "2": "LYT",
    "3": "MON",
    "4": "EOS",
    "neutrophil": "NGS",
    "lymphocyte": "LYT",
    "monocyte": "MON",
    "eosinophil": "EOS",
}
# Of a set that a network trains on as well, this share stays unseen: the last of its files.
KEPT_APART = 0.25
# A cell is cut out of its field with this many widths of its box around it.
TILE_WIDTHS = 2.0


@dataclass(frozen=True)
class ReferencePicture:
    """A picture and what people drew on it.

    Attributes
    ----------
    path : Path
    boxes : tuple of (top, left, bottom, right), or None
        White cells, pixels; None where the set has masks alone.
    mask : Path or None
        Levels of nucleus and cytoplasm.
    classes : tuple of str
        White-cell classes as the set names them, in the order of its cells.
    """

    path: Path
    boxes: tuple[Box, ...] | None
    mask: Path | None
    classes: tuple[str, ...]

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, (H, W, 3) RGB."""
        return load_pixels(self.path)

    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Nucleus and whole cell, (H, W); None where nobody drew them."""
        if self.mask is None:
            return None
        levels = cv2.imread(str(self.mask), cv2.IMREAD_GRAYSCALE)
        if levels is None:
            raise DatasetInvalid(f"The mask {self.mask.name} cannot be read.")
        return np.asarray(levels >= NUCLEUS_FROM), np.asarray(levels >= CELL_FROM)


def read_cell_set(folder: Path) -> list[ReferencePicture]:
    """Read a set laid out with `masks/`, or with `annotations/` and `nucleus_masks/`.

    Parameters
    ----------
    folder : Path
        Holds `images/` and, where classes are known, `labels.csv`.

    Returns
    -------
    pictures : list of ReferencePicture
        By file number.

    Raises
    ------
    DatasetInvalid
        If the folder has neither layout, or no picture.
    """
    images = folder / "images"
    if not images.is_dir():
        raise DatasetInvalid(f"Expected a folder images in {folder}; there is none.")
    boxed, masked = folder / "annotations", folder / "masks"
    if not boxed.is_dir() and not masked.is_dir():
        raise DatasetInvalid(f"Expected a folder annotations or masks in {folder}; there is none.")
    masks = {p.stem: p for p in _files(masked if masked.is_dir() else folder / "nucleus_masks")}
    classes = _classes(folder / "labels.csv")
    pictures = []
    for path in _files(images):
        boxes = None
        if boxed.is_dir():
            note = boxed / f"{path.stem}.xml"
            boxes = tuple(_white_cells(note)) if note.is_file() else ()
        known = classes.get(path.stem) or classes.get(str(file_number(path)), [])
        pictures.append(ReferencePicture(path, boxes, masks.get(path.stem), tuple(known)))
    if not pictures:
        raise DatasetInvalid(f"Expected pictures in {images}; found none.")
    return pictures


def parted(
    pictures: Sequence[ReferencePicture],
) -> tuple[list[ReferencePicture], list[ReferencePicture]]:
    """Part a set by file number: what may train, and what stays unseen.

    Neighbours in number may show one slide, so the cut is one and not by chance.

    Parameters
    ----------
    pictures : sequence of ReferencePicture
        In the order of `read_cell_set`.

    Returns
    -------
    train, test : list of ReferencePicture
    """
    cut = round((1 - KEPT_APART) * len(pictures))
    return list(pictures[:cut]), list(pictures[cut:])


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    return sorted(found, key=lambda p: (file_number(p), p.name))


def _white_cells(note: Path) -> Iterator[Box]:
    try:
        # Notes of a set on the operator's own disk; expat bounds their expansion.
        objects = ElementTree.parse(note).iter("object")  # noqa: S314
        for thing in objects:
            box = thing.find("bndbox")
            if thing.findtext("name") == "WBC" and box is not None:
                top, left, bottom, right = (
                    float(box.findtext(side) or "") for side in ("ymin", "xmin", "ymax", "xmax")
                )
                yield top, left, bottom, right
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetInvalid(f"The boxes in {note.name} cannot be read.") from error


def _classes(table: Path) -> dict[str, list[str]]:
    """Classes by picture; the last column is the class, the first the picture."""
    found: dict[str, list[str]] = {}
    if not table.is_file():
        return found
    with table.open(newline="", encoding="utf-8") as file:
        for row in list(csv.reader(file))[1:]:
            if len(row) >= 2:
                found.setdefault(row[0].strip(), []).append(row[-1].strip())
    return found


def as_tiles(
    pictures: Sequence[ReferencePicture], codes: Sequence[str]
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Tiles of single cells with the classes that a network knows.

    Parameters
    ----------
    pictures : sequence of ReferencePicture
        A picture without boxes is a tile; of a field each boxed cell is cut out.
    codes : sequence of str
        Class codes of the network.

    Returns
    -------
    tiles : list of (H, W, 3) ndarray of uint8
    targets : (N,) ndarray of int64

    Raises
    ------
    DatasetInvalid
        If no cell is of a class that the network knows.
    """
    tiles, targets = [], []
    for picture in pictures:
        known = [CODES.get(name.lower(), "") for name in picture.classes]
        if not set(known) & set(codes):
            continue
        pixels = picture.pixels()
        cells = [pixels] if picture.boxes is None else [_cut(pixels, b) for b in picture.boxes]
        # Fields with more boxes than classes do not say which cell is which.
        if len(cells) != len(known):
            continue
        for cell, code in zip(cells, known, strict=True):
            if code in codes:
                tiles.append(cell)
                targets.append(list(codes).index(code))
    if not tiles:
        raise DatasetInvalid(f"No cell of the classes {', '.join(codes)} is named in this set.")
    return tiles, np.array(targets, dtype=np.int64)


def _cut(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    top, left, bottom, right = box
    side = TILE_WIDTHS * max(bottom - top, right - left)
    row, col = (top + bottom) / 2, (left + right) / 2
    first_row, first_col = (max(0, round(at - side / 2)) for at in (row, col))
    last_row = min(pixels.shape[0], round(row + side / 2))
    last_col = min(pixels.shape[1], round(col + side / 2))
    return np.ascontiguousarray(pixels[first_row:last_row, first_col:last_col])
