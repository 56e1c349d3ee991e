"""Reading the cells of a field: outside the request, by a worker, as often as it takes.

Each nucleated cell is found again on the stored original, outlined, measured, cut out and, where
a cell network is installed, classified. All cells of a field appear together, in the transaction
that ends the job: a worker that is killed leaves none, and the next one begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from utils.errors import NetworkUnavailable, NotFound
from utils.imaging import cells, decode, morphometry
from utils.imaging.crop import cut_cell
from utils.imaging.nuclei import white_point
from utils.imaging.outline import CellOutline
from utils.records.analyses import Analysis
from utils.records.blobs import BlobStore
from utils.records.cells import Cell
from utils.records.database import AnySession
from utils.records.jobs import Job
from utils.records.users import User
from utils.workflow import jobs
from utils.workflow.jobs import JobContext, handles

if TYPE_CHECKING:
    from utils.networks.classifier import Classifier, Reading
    from utils.settings import Settings

KIND: Final = "cells.read"
# Crops at once: more gain nothing, and progress is said between.
BATCH: Final = 8
# What a person sees of a cell: its own scale, with a little of what is around it.
CROP_PX: Final = 112
CONTEXT: Final = 1.5
# The field's map is read at this many pixels a side.
_MAP_PX: Final = 224


@dataclass(frozen=True)
class _Seen:
    """One cell before it is kept."""

    outline: CellOutline
    measures: dict[str, Any]
    crop: bytes
    touches_border: bool


def ask_for_cells(
    session: AnySession, analysis: Analysis, user: User | None, *, version: str | None = None
) -> Job:
    """Ask for a field's cells within the caller's transaction; asked twice, they are read once.

    Parameters
    ----------
    version : str, optional
        Of the cell network, to read a field again that an older one has read.
    """
    return jobs.enqueue(
        session,
        KIND,
        {"analysis": analysis.public_id},
        owner=user,
        analysis=analysis,
        dedupe_key=":".join(filter(None, (KIND, analysis.public_id, version))),
    )


def serving_version(settings: Settings) -> str | None:
    """Version of the cell network that serves; None where none is installed."""
    from utils.networks import registry

    try:
        return registry.current_version(settings.models_dir, settings.cell_network)
    except NetworkUnavailable:
        return None


def can_read_again(cells: Sequence[Cell], settings: Settings) -> bool:
    """Whether a cell network serves that has not read these cells."""
    version = serving_version(settings)
    return bool(cells) and version is not None and cells[0].network_version != version


def newest_job(session: AnySession, analysis: Analysis) -> Job | None:
    """Where the reading of a field's cells stands; None where nobody asked."""
    statement = (
        sa.select(Job)
        .where(Job.analysis_id == analysis.id, Job.kind == KIND)
        .order_by(Job.id.desc())
        .limit(1)
    )
    return session.scalar(statement)


def list_cells(session: AnySession, analysis: Analysis) -> list[Cell]:
    """All cells of a field in the order of their numbers, without their pictures."""
    statement = sa.select(Cell).where(Cell.analysis_id == analysis.id).order_by(Cell.number)
    return list(session.scalars(statement))


def find_cell(session: AnySession, analysis: Analysis, number: int) -> Cell:
    """Find one cell of a field.

    Raises
    ------
    NotFound
        If the field has no cell of this number.
    """
    cell = session.scalar(
        sa.select(Cell).where(Cell.analysis_id == analysis.id, Cell.number == number)
    )
    if cell is None:
        raise NotFound("This field has no such cell.")
    return cell


@handles(KIND)
def read_cells(context: JobContext) -> None:
    """Find, measure and read the cells of one field; nothing to do where that was done."""
    session, settings = context.session, context.settings
    analysis = session.scalar(
        sa.select(Analysis).where(Analysis.public_id == context.parameters["analysis"])
    )
    if analysis is None:
        raise NotFound("The field whose cells were to be read is not there.")
    before = list_cells(session, analysis)
    if before and before[0].network_version == serving_version(settings):
        return
    pixels = _original(analysis, settings)
    found = cells.find_cells(pixels, working_pixels=settings.working_pixels)
    outlines = cells.outline_found(pixels, found)
    total = 2 * len(outlines)
    context.progress(0, total, "The cells are being measured.")
    white = white_point(pixels)
    seen = []
    for done, (outline, nucleus) in enumerate(
        zip(outlines, found.segmentation.nuclei, strict=True), start=1
    ):
        seen.append(_measure(pixels, outline, white, cut=nucleus.touches_border))
        context.progress(done, total, "The cells are being measured.")
    classifier = _cell_classifier(settings)
    readings: list[Reading | None] = [None] * len(seen)
    if classifier is not None:
        crops = [_network_input(pixels, one.outline, white, classifier) for one in seen]
        for first, batch in _read_batches(classifier, crops):
            readings[first : first + len(batch)] = batch
            context.progress(len(seen) + first + len(batch), total, "The cells are being read.")
    # Nobody has said anything of these cells yet: a newer network's take their place.
    session.execute(sa.delete(Cell).where(Cell.analysis_id == analysis.id))
    heats = _heats(analysis)
    shape = (pixels.shape[0], pixels.shape[1])
    for number, (one, reading) in enumerate(zip(seen, readings, strict=True), start=1):
        row = _row(number, one) | _field_evidence(one.outline, heats, shape)
        row |= _reading_of(reading, classifier)
        session.add(Cell(analysis_id=analysis.id, **row))
    context.progress(total, total, "The cells are being kept.")


def _original(analysis: Analysis, settings: Settings) -> NDArray[np.uint8]:
    blobs = BlobStore(settings.blobs_dir, lowest_free_bytes=settings.lowest_free_bytes)
    limits = decode.Limits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    return decode.decode(blobs.read(analysis.original_sha256), limits).pixels


def _measure(
    pixels: NDArray[np.uint8], outline: CellOutline, white: NDArray[np.float64], *, cut: bool
) -> _Seen:
    top, left, bottom, right = outline.box
    crop = cut_cell(
        pixels,
        outline.centre_px,
        outline.diameter_px,
        white=white,
        context=CONTEXT,
        side_px=CROP_PX,
    )
    return _Seen(
        outline=outline,
        measures=morphometry.measure(pixels, outline, white=white).to_dict(),
        crop=decode.encode_jpeg(crop, quality=90),
        touches_border=(
            cut
            or min(top, left) <= 0.5
            or bottom >= pixels.shape[0] - 0.5
            or right >= pixels.shape[1] - 0.5
        ),
    )


def _cell_classifier(settings: Settings) -> Classifier | None:
    """Give the cell network that serves; None where none is installed."""
    version = serving_version(settings)
    if version is None:
        return None
    return _loaded(settings.models_dir, settings.cell_network, version)


@lru_cache(maxsize=2)
def _loaded(models_dir: Path, name: str, version: str) -> Classifier:
    from utils.networks import registry

    # The worker is alone on its cores or gives way; all of them are used.
    threads = min(4, os.cpu_count() or 1)
    return registry.load_classifier(models_dir, name, version, threads=threads)


def _network_input(
    pixels: NDArray[np.uint8],
    outline: CellOutline,
    white: NDArray[np.float64],
    classifier: Classifier,
) -> NDArray[np.uint8]:
    spec = classifier.manifest.preprocess
    return cut_cell(
        pixels,
        outline.centre_px,
        outline.diameter_px,
        white=white,
        context=spec.cell_context or CONTEXT,
        side_px=spec.input_px,
    )


def _read_batches(
    classifier: Classifier, crops: Sequence[NDArray[np.uint8]]
) -> Iterator[tuple[int, list[Reading]]]:
    for first in range(0, len(crops), BATCH):
        raws = classifier.forward_all(crops[first : first + BATCH])
        yield first, [classifier.judge(raw) for raw in raws]


def _heats(analysis: Analysis) -> dict[str, NDArray[np.float32]]:
    """The field network's map of each class, enlarged, its mean 1; empty maps left out."""
    heats = {}
    for code, cam in zip(analysis.probabilities, analysis.cams, strict=True):
        grid = np.maximum(np.asarray(cam, dtype=np.float32), 0.0)
        heat = np.asarray(cv2.resize(grid, (_MAP_PX, _MAP_PX)), dtype=np.float32)
        if float(heat.mean()) > 0.0:
            heats[code] = heat / heat.mean()
    return heats


def _field_evidence(
    outline: CellOutline, heats: dict[str, NDArray[np.float32]], shape: tuple[int, int]
) -> dict[str, Any]:
    """Each class's map pooled over the cell: 1 is the field's mean."""
    mask = np.zeros((_MAP_PX, _MAP_PX), np.uint8)
    ratio = np.array([_MAP_PX / shape[1], _MAP_PX / shape[0]])
    for corners in outline.polygons(outline.cell)[:1]:
        cv2.fillPoly(mask, [np.round(np.array(corners) * ratio).astype(np.int32)], 1)
    if not mask.any():
        return {"field_evidence": {}}
    pooled = {code: float(heat[mask > 0].mean()) for code, heat in heats.items()}
    return {"field_evidence": {code: round(value, 3) for code, value in pooled.items()}}


def _row(number: int, one: _Seen) -> dict[str, Any]:
    row_px, col_px = one.outline.centre_px
    body = one.outline.polygons(one.outline.cell)
    return {
        "number": number,
        "row_px": round(row_px, 1),
        "col_px": round(col_px, 1),
        "diameter_px": round(one.outline.diameter_px, 1),
        "box": [round(value, 1) for value in one.outline.box],
        "outline": [list(corner) for corner in (body[0] if body else [])],
        "nucleus": [[list(c) for c in p] for p in one.outline.polygons(one.outline.nucleus)],
        "touches_border": one.touches_border,
        "measures": one.measures,
        "crop": one.crop,
    }


def _reading_of(reading: Reading | None, classifier: Classifier | None) -> dict[str, Any]:
    if reading is None or classifier is None:
        return {}
    manifest = classifier.manifest
    return {
        "network_name": manifest.name,
        "network_version": manifest.version,
        "network_sha256": manifest.weights_sha256,
        "logits": [float(f"{value:.7g}") for value in reading.logits],
        "probabilities": dict(zip(manifest.codes, map(float, reading.probabilities), strict=True)),
        "code": reading.label,
        "top_code": reading.top_code,
        "probability": reading.probability,
        "reasons": list(reading.reasons),
        "ood_distance": reading.ood_distance,
        "embedding": reading.embedding.astype(np.float16).tobytes(),
    }
