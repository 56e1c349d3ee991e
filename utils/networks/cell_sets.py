"""Labelled sets of cells on disk: single cells with masks, and fields with boxes."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
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
