"""Reading the cells of a field: outside the request, by a worker, as often as it takes.

Each nucleated cell is found again on the stored original, outlined, measured, cut out and, where
a cell network is installed, classified. All cells of a field appear together, in the transaction
that ends the job: a worker that is killed leaves none, and the next one begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from utils.errors import NetworkUnavailable, NotFound
from utils.imaging import cells, decode
from utils.imaging.crop import CellPlace
from utils.imaging.nuclei import white_point
from utils.imaging.pixel_size import estimate_pixel_size
from utils.imaging.preprocess import cut_cell, place_of
from utils.records.analyses import Analysis
from utils.records.blobs import BlobStore
from utils.records.cells import Cell
from utils.records.database import AnySession
from utils.records.jobs import Job
from utils.records.users import User
from utils.workflow import cell_events, jobs
from utils.workflow.cell_rows import RowMaker
from utils.workflow.jobs import JobContext, handles
from utils.workflow.scale import keep_estimate

if TYPE_CHECKING:
    from utils.networks.classifier import Classifier, Reading
    from utils.settings import Settings

KIND: Final = "cells.read"
# Crops at once: more gain nothing, and progress is said between.
BATCH: Final = 8
# Cells that a person has drawn are named by a job of this kind.
NAME_KIND: Final = "cells.name"
KINDS: Final = (KIND, NAME_KIND)


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


def ask_for_names(session: AnySession, analysis: Analysis, user: User, *, first: int) -> Job:
    """Ask for the names of the cells that a person drew, the first of which has this number."""
    return jobs.enqueue(
        session,
        NAME_KIND,
        {"analysis": analysis.public_id},
        owner=user,
        analysis=analysis,
        dedupe_key=f"{NAME_KIND}:{analysis.public_id}:{first}",
    )


def can_read_again(cells: Sequence[Cell], settings: Settings) -> bool:
    """Whether a cell network serves that has not read these cells, which nobody has changed yet."""
    version = serving_version(settings)
    return (
        bool(cells)
        and version is not None
        and all(cell.origin == "found" and cell.review_state == "unreviewed" for cell in cells)
        and cells[0].network_version != version
    )


def newest_job(session: AnySession, analysis: Analysis) -> Job | None:
    """Where the reading of a field's cells stands; None where nobody asked."""
    statement = (
        sa.select(Job)
        .where(Job.analysis_id == analysis.id, Job.kind.in_(KINDS))
        .order_by(Job.id.desc())
        .limit(1)
    )
    return session.scalar(statement)


def is_being_read(session: AnySession, analysis: Analysis) -> bool:
    """Whether the cells of a field are still to be found, by a job that waits or runs."""
    statement = sa.select(Job.id).where(
        Job.analysis_id == analysis.id, Job.kind == KIND, Job.state.in_(("queued", "running"))
    )
    return session.scalar(statement.limit(1)) is not None


def list_cells(session: AnySession, analysis: Analysis) -> list[Cell]:
    """Cells that are in a field now, in the order of their numbers, without their pictures."""
    statement = (
        sa.select(Cell).where(Cell.analysis_id == analysis.id, Cell.present).order_by(Cell.number)
    )
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
    analysis = _field_of(context)
    before = list_cells(session, analysis)
    if before and before[0].network_version == serving_version(settings):
        return
    if cell_events.has_events(session, analysis.id):
        return
    pixels = original(analysis, settings)
    found = cells.find_cells(pixels, working_pixels=settings.working_pixels)
    outlines = cells.outline_found(pixels, found)
    total = 2 * len(outlines)
    context.progress(0, total, "The cells are being measured.")
    size = estimate_pixel_size(pixels, cell_px=found.segmentation.cell_radius_px)
    rows, maker = [], RowMaker(pixels, analysis)
    for done, (outline, nucleus) in enumerate(
        zip(outlines, found.segmentation.nuclei, strict=True), start=1
    ):
        rows.append(maker.row(outline, cut=nucleus.touches_border))
        context.progress(done, total, "The cells are being measured.")
    classifier = _cell_classifier(settings)
    if classifier is not None:
        spec = classifier.manifest.preprocess
        places = map(place_of, outlines)
        crops = [cut_cell(pixels, place, maker.white, spec) for place in places]
        for first, batch in _read_batches(classifier, crops):
            for row, reading in zip(rows[first:], batch, strict=False):
                row |= _reading_of(reading, classifier)
            context.progress(len(rows) + first + len(batch), total, "The cells are being read.")
    # From here to the job's end nobody else writes to the field. If a person acted on its cells
    # meanwhile they stay as they are; if not, a newer network's take their place.
    cell_events.lock(session, analysis.id)
    if cell_events.has_events(session, analysis.id):
        return
    keep_estimate(session, analysis, size)
    session.execute(sa.delete(Cell).where(Cell.analysis_id == analysis.id))
    for number, row in enumerate(rows, start=1):
        session.add(Cell(analysis_id=analysis.id, number=number, **row))
    context.progress(total, total, "The cells are being kept.")


@handles(NAME_KIND)
def name_cells(context: JobContext) -> None:
    """Let the network name those cells of a field that a person has drawn."""
    session, settings = context.session, context.settings
    analysis = _field_of(context)
    classifier = _cell_classifier(settings)
    statement = sa.select(Cell).where(
        Cell.analysis_id == analysis.id, Cell.origin == "person", Cell.network_name.is_(None)
    )
    drawn = list(session.scalars(statement.order_by(Cell.number)))
    if classifier is None or not drawn:
        return
    pixels = original(analysis, settings)
    white = white_point(pixels)
    spec = classifier.manifest.preprocess
    crops = [cut_cell(pixels, place_of_row(cell), white, spec) for cell in drawn]
    named: list[dict[str, Any]] = []
    for first, batch in _read_batches(classifier, crops):
        named += [_reading_of(reading, classifier) for reading in batch]
        context.progress(first + len(batch), len(drawn), "The cells are being read.")
    cell_events.lock(session, analysis.id)
    for cell, values in zip(drawn, named, strict=True):
        session.refresh(cell)
        for name, value in values.items():
            setattr(cell, name, value)
    # "Confirmed" and "corrected" speak of the network, which has only now spoken.
    session.flush()
    done = cell_events.replay(cell_events.load_events(session, analysis.id)).done
    cell_events.project(session, analysis.id, done, {cell.number for cell in drawn})


def _field_of(context: JobContext) -> Analysis:
    analysis = context.session.scalar(
        sa.select(Analysis).where(Analysis.public_id == context.parameters["analysis"])
    )
    if analysis is None:
        raise NotFound("The field whose cells were to be read is not there.")
    return analysis


def place_of_row(cell: Cell) -> CellPlace:
    """Where a stored cell stands in its field."""
    return CellPlace((cell.row_px, cell.col_px), cell.diameter_px, cell.nucleus)


def original(analysis: Analysis, settings: Settings) -> NDArray[np.uint8]:
    """Pixels of a field as they were sent, (H, W, 3) RGB."""
    blobs = BlobStore(settings.blobs_dir, lowest_free_bytes=settings.lowest_free_bytes)
    limits = decode.Limits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    return decode.decode(blobs.read(analysis.original_sha256), limits).pixels


def _cell_classifier(settings: Settings) -> Classifier | None:
    """Give the cell network that serves; None where none is installed."""
    version = serving_version(settings)
    if version is None:
        return None
    return loaded(settings.models_dir, settings.cell_network, version)


@lru_cache(maxsize=2)
def loaded(models_dir: Path, name: str, version: str) -> Classifier:
    """Give one version of a network that reads cells, loaded on first use and kept."""
    from utils.networks import registry

    # The worker is alone on its cores or gives way; all of them are used.
    threads = min(4, os.cpu_count() or 1)
    return registry.load_classifier(models_dir, name, version, threads=threads)


def _read_batches(
    classifier: Classifier, crops: Sequence[NDArray[np.uint8]]
) -> Iterator[tuple[int, list[Reading]]]:
    for first in range(0, len(crops), BATCH):
        raws = classifier.forward_all(crops[first : first + BATCH])
        yield first, [classifier.judge(raw) for raw in raws]


def _reading_of(reading: Reading, classifier: Classifier) -> dict[str, Any]:
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
