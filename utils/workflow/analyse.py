"""The way of an image, one straight line: bytes in, an analysis out, stored on request."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from utils import __version__
from utils.imaging import decode as decoding
from utils.imaging import overlay, preprocess, quality
from utils.imaging.cells import find_cells
from utils.imaging.nuclei import nucleus_mask
from utils.records import Analysis, Case, User, audit, db
from utils.workflow import access
from utils.workflow.attention import Attention, weigh_attention
from utils.workflow.pictures import Pictures, encode_pictures
from utils.workflow.read import ask_for_cells
from utils.workflow.scale import stated_scale
from utils.workflow.wording import NOTHING_TO_CLASSIFY

if TYPE_CHECKING:
    from utils.imaging.cells import Found
    from utils.imaging.decode import DecodedImage
    from utils.imaging.quality import Quality
    from utils.imaging.watershed import Segmentation
    from utils.networks.classifier import Classifier, Reading
    from utils.networks.manifest import Manifest
    from utils.records.blobs import BlobStore
    from utils.settings import Settings


@dataclass
class Stopwatch:
    """Milliseconds of each station of the way."""

    timings_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, station: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        elapsed_ms = (time.perf_counter() - start) * 1000
        self.timings_ms[station] = round(self.timings_ms.get(station, 0.0) + elapsed_ms, 2)


@dataclass(frozen=True)
class Verdict:
    """What is said of the field.

    Attributes
    ----------
    label_code : str or None
        None where nothing is named: "Unclassifiable — review".
    reasons : tuple of str
        Why nothing is named; empty where a label is.
    """

    label_code: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class AnalysisResult:
    """One field, analysed and not stored."""

    manifest: Manifest
    decoded: DecodedImage
    quality: Quality
    clahe: preprocess.RGBImage
    reading: Reading
    verdict: Verdict
    segmentation: Segmentation
    single_cell: bool
    attention: Attention
    flags: tuple[str, ...]
    timings_ms: dict[str, float]

    @property
    def probabilities(self) -> dict[str, float]:
        """Calibrated probability of each class by code."""
        codes = [label.code for label in self.manifest.classes]
        return dict(zip(codes, map(float, self.reading.probabilities), strict=True))

    @property
    def abstained(self) -> bool:
        """Whether the field ends as "Unclassifiable — review"."""
        return self.verdict.label_code is None


def analyse_image(data: bytes, *, classifier: Classifier, settings: Settings) -> AnalysisResult:
    """Analyse one field of view; nothing is stored.

    Parameters
    ----------
    data : bytes
        A file as it was uploaded; its type is taken from its content.
    classifier : Classifier
        The network that reads whole fields.
    settings : Settings
        Limits on bytes and pixels, and the resolution cap of the watershed.

    Returns
    -------
    result : AnalysisResult

    Raises
    ------
    InvalidImage
        If the bytes are no image, or one outside the limits.
    """
    station = Stopwatch()
    with station("decode"):
        decoded = decoding.decode(data, _limits(settings))
    with station("quality"):
        seen = quality.assess(decoded.pixels, nucleus_mask(_judged_size(decoded.pixels)))
    with station("preprocess"):
        prepared = preprocess.prepare(decoded.pixels, classifier.manifest.preprocess)
    with station("forward"):
        reading = classifier.read(prepared.network_input)
    with station("watershed"):
        found = find_cells(decoded.pixels, working_pixels=settings.working_pixels)
    with station("decide"):
        verdict = decide(reading, seen, found)
    with station("attention"):
        attention = weigh_attention(reading, found.segmentation, classifier.manifest)
    return AnalysisResult(
        manifest=classifier.manifest,
        decoded=decoded,
        quality=seen,
        clahe=prepared.clahe,
        reading=reading,
        verdict=verdict,
        segmentation=found.segmentation,
        single_cell=found.single_cell,
        attention=attention,
        flags=collect_flags(decoded, seen, reading, verdict, attention),
        timings_ms=station.timings_ms,
    )


def decide(reading: Reading, seen: Quality, found: Found) -> Verdict:
    """Take the network's label, or say why there is none.

    A field with nothing nucleated in it is never one of the classes, however sure the network,
    and a picture of one cell is no field. That is why this comes after the watershed and not
    before.
    """
    empty = [code for code in seen.flags if code in NOTHING_TO_CLASSIFY]
    if found.segmentation.count == 0:
        empty.append("no_nucleated_cell")
    if found.single_cell:
        empty.append("single_cell")
    if empty or reading.label is None:
        return Verdict(None, tuple(dict.fromkeys((*empty, *reading.reasons))))
    return Verdict(reading.label, ())


def collect_flags(
    decoded: DecodedImage,
    seen: Quality,
    reading: Reading,
    verdict: Verdict,
    attention: Attention,
) -> tuple[str, ...]:
    """Every flag of a field by code, those that bear on the result first."""
    share = attention.heat_on_cells[reading.top_code]
    heat: tuple[str, ...] = ()
    if share is None:
        heat = ("no_evidence",)
    elif attention.misses_cells(share):
        heat = ("heat_off_cells",)
    return tuple(
        dict.fromkeys((*verdict.reasons, *seen.flags, *reading.reasons, *heat, *decoded.notes))
    )


def _judged_size(pixels: preprocess.RGBImage) -> preprocess.RGBImage:
    """Reduce a field to the size that its quality is judged at."""
    height, width = pixels.shape[:2]
    scale = quality.JUDGED_SIDE_PX / max(height, width)
    if scale >= 1.0:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _limits(settings: Settings) -> decoding.Limits:
    return decoding.Limits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)


def store_analysis(
    result: AnalysisResult,
    *,
    user: User,
    upload_key: str,
    blobs: BlobStore,
    case: Case | None = None,
) -> Analysis:
    """Keep an analysis: the pictures first, then rows and audit entry in one transaction.

    A process that dies in between leaves pictures that nothing refers to, never a row without its
    pictures. The same `upload_key` of the same person gives the analysis that is there already.

    Parameters
    ----------
    case : Case, optional
        Where the field belongs; without one a case is opened in the same transaction.

    Raises
    ------
    NotAllowed, NotFound
        If `user` may not add to the case.
    StorageFull, StorageFailed, DatabaseBusy
        Nothing is kept then.
    """
    if case is not None:
        access.require_correct(user, case)
    session = db.session()
    station = Stopwatch(dict(result.timings_ms))
    with station("encode"):
        pictures = encode_pictures(result)
    try:
        with station("store"):
            seen, kept = _keep_pictures(pictures, blobs)
        row = _row_of(result) | kept | {"timings_ms": station.timings_ms}
        if seen and _seen_before(session, user, kept["original_sha256"]):
            row["flags"] = [*row["flags"], "duplicate"]
        analysis = _insert(session, row, user, upload_key, case)
        session.commit()
    except IntegrityError:
        # PostgreSQL lets two identical uploads get this far; the loser takes the winner's.
        session.rollback()
        known = find_upload(session, user, upload_key)
        if known is None:
            raise
        return known
    except BaseException:
        session.rollback()
        raise
    return analysis


def find_upload(session: Session, user: User, upload_key: str) -> Analysis | None:
    """Find what became of an upload that was sent before."""
    return session.scalar(
        sa.select(Analysis).where(Analysis.owner_id == user.id, Analysis.upload_key == upload_key)
    )


def _keep_pictures(pictures: Pictures, blobs: BlobStore) -> tuple[bool, dict[str, str]]:
    """Store the pictures; say whether the original was stored before, by whomever."""
    seen = blobs.exists(hashlib.sha256(pictures.original).hexdigest())
    return seen, {
        "original_sha256": blobs.put(pictures.original),
        "original_media_type": pictures.original_media_type,
        "clahe_sha256": blobs.put(pictures.clahe),
        "boundaries_sha256": blobs.put(pictures.boundaries),
        "thumbnail_sha256": blobs.put(pictures.thumbnail),
    }


def _insert(
    session: Session, row: dict[str, Any], user: User, upload_key: str, case: Case | None
) -> Analysis:
    opened = case is None
    if case is None:
        case = Case(owner_id=user.id)
        session.add(case)
        session.flush()
    else:
        # A write that changes nothing takes the lock: the next number below is nobody else's.
        session.execute(
            sa.update(Case)
            .where(Case.id == case.id)
            .values(state=Case.state)
            .execution_options(synchronize_session=False)
        )
    known = find_upload(session, user, upload_key)
    if known is not None:
        session.rollback()
        return known
    highest = sa.select(sa.func.max(Analysis.number)).where(Analysis.case_id == case.id)
    last = session.scalar(highest)
    analysis = Analysis(
        case_id=case.id, owner_id=user.id, upload_key=upload_key, number=(last or 0) + 1, **row
    )
    session.add(analysis)
    session.flush()
    ask_for_cells(session, analysis, user)
    if opened:
        audit.append(
            session,
            action="case.open",
            object_type="case",
            object_id=case.public_id,
            actor_id=user.id,
        )
    audit.append(
        session,
        action="analysis.create",
        object_type="analysis",
        object_id=analysis.public_id,
        actor_id=user.id,
        details={
            "case": case.public_id,
            "network": f"{analysis.network_name} {analysis.network_version}",
            "label": analysis.label_code,
            "image": analysis.original_sha256,
        },
    )
    return analysis


def _seen_before(session: Session, user: User, original_sha256: str) -> bool:
    same = sa.exists().where(
        Analysis.owner_id == user.id, Analysis.original_sha256 == original_sha256
    )
    return bool(session.scalar(sa.select(same)))


def _row_of(result: AnalysisResult) -> dict[str, Any]:
    reading, manifest = result.reading, result.manifest
    height_px, width_px = result.decoded.pixels.shape[:2]
    return {
        "width_px": width_px,
        "height_px": height_px,
        "format": result.decoded.format,
        "decode_notes": list(result.decoded.notes),
        **stated_scale(result.decoded.um_per_px),
        "network_name": manifest.name,
        "network_version": manifest.version,
        "network_sha256": manifest.weights_sha256,
        "logits": _rounded(reading.logits),
        "probabilities": result.probabilities,
        "cams": [[_rounded(line) for line in cam] for cam in reading.cams],
        "label_code": result.verdict.label_code,
        "top_code": reading.top_code,
        "probability": float(reading.probability),
        "abstained": result.abstained,
        "reasons": list(result.verdict.reasons),
        "flags": list(result.flags),
        "ood_distance": float(reading.ood_distance),
        "heat_on_cells": result.attention.heat_on_cells[reading.top_code],
        "nuclei_count": result.segmentation.count,
        "nuclei": _nuclei_of(result),
        "quality": asdict(result.quality),
        "program_version": __version__,
    }


def _nuclei_of(result: AnalysisResult) -> dict[str, Any]:
    """Cells as they are stored: outlines as [x, y] corners in pixels of the original."""
    return {
        "outlines": [
            [[round(float(x), 1), round(float(y), 1)] for x, y in outline]
            for outline in overlay.outlines(result.segmentation)
        ],
        "centroids": [
            [round(cell.centroid_col_px, 1), round(cell.centroid_row_px, 1)]
            for cell in result.segmentation.nuclei
        ],
        "heat_on_cells": result.attention.heat_on_cells,
        "by_chance": result.attention.by_chance,
        "at_best": result.attention.at_best,
    }


def _rounded(values: Any) -> list[float]:
    # Seven significant digits are all that a float32 holds; its exact decimals are three times
    # as long.
    return [float(f"{value:.7g}") for value in values]
