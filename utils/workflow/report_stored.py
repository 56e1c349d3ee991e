"""What a report says of a stored analysis, and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload, undefer

from utils.errors import MarrowFindError
from utils.imaging import decode as decoding
from utils.records import Analysis, Case, LabelEvent, ReportVersion
from utils.records.blobs import BlobStore
from utils.reports.content import FieldReport, Identity, ReviewState, Specimen
from utils.reports.theme import utc_time
from utils.workflow import review
from utils.workflow.report_content import Reading, Review, field_report

if TYPE_CHECKING:
    from utils.networks.manifest import Manifest


@dataclass(frozen=True)
class Standing:
    """Everything that may change between drawing a report up and keeping it."""

    last_event_id: int
    case: tuple[object, ...]
    fields: int
    last_version_id: int | None


def standing_of(session: Session, analysis_id: int) -> Standing:
    """Read, past everything that the session remembers, what a report depends on."""
    case_id = session.scalar(sa.select(Analysis.case_id).where(Analysis.id == analysis_id))
    columns = (
        Case.accession,
        Case.patient_reference,
        Case.site,
        Case.specimen_date,
        Case.indication,
        Case.specimen_quality,
    )
    newest = sa.select(sa.func.max(LabelEvent.id)).where(LabelEvent.analysis_id == analysis_id)
    fields = sa.select(sa.func.count()).where(Analysis.case_id == case_id)
    version = (
        sa.select(ReportVersion.id)
        .where(ReportVersion.analysis_id == analysis_id)
        .order_by(ReportVersion.number.desc())
        .limit(1)
    )
    return Standing(
        last_event_id=session.scalar(newest) or 0,
        case=tuple(session.execute(sa.select(*columns).where(Case.id == case_id)).one()),
        fields=session.scalar(fields) or 0,
        last_version_id=session.scalar(version),
    )


def load_analysis(session: Session, analysis_id: int) -> Analysis:
    statement = (
        sa.select(Analysis)
        .where(Analysis.id == analysis_id)
        .options(
            undefer(Analysis.cams),
            undefer(Analysis.nuclei),
            joinedload(Analysis.case, innerjoin=True),
            joinedload(Analysis.owner, innerjoin=True),
        )
        .execution_options(populate_existing=True)
    )
    return session.scalars(statement).one()


def stored_report(
    session: Session, analysis: Analysis, *, blobs: BlobStore, models_dir: Path
) -> FieldReport:
    case = analysis.case
    fields = session.scalar(sa.select(sa.func.count()).where(Analysis.case_id == case.id))
    return field_report(
        _stored_reading(analysis, blobs, models_dir),
        identity=Identity(
            accession=case.accession,
            patient_reference=case.patient_reference,
            field_number=f"{analysis.number} of {max(fields or 0, analysis.number)}",
        ),
        specimen=Specimen(
            site=case.site,
            specimen_date=case.specimen_date,
            indication=case.indication,
            quality=case.specimen_quality,
        ),
        review=_review(session, analysis),
        provenance=(
            ("Operator", analysis.owner.name),
            ("Analysed", utc_time(analysis.created_at)),
            ("Case", case.public_id),
        ),
    )


def _stored_reading(analysis: Analysis, blobs: BlobStore, models_dir: Path) -> Reading:
    original = blobs.read(analysis.original_sha256)
    limits = decoding.Limits(
        max_bytes=len(original), max_pixels=analysis.width_px * analysis.height_px, min_side_px=1
    )
    kept = analysis.nuclei or {}
    return Reading(
        pixels=decoding.decode(original, limits).pixels,
        picture_sha256=analysis.original_sha256,
        picture_format=analysis.format,
        cams=np.asarray(analysis.cams, dtype=np.float32),
        outlines=kept.get("outlines", []),
        probabilities=analysis.probabilities,
        label_code=analysis.label_code,
        top_code=analysis.top_code,
        reasons=analysis.reasons,
        flags=analysis.flags,
        heat_share=analysis.heat_on_cells,
        by_chance=kept.get("by_chance"),
        nuclei_count=analysis.nuclei_count,
        ood_distance=analysis.ood_distance,
        network_name=analysis.network_name,
        network_version=analysis.network_version,
        network_sha256=analysis.network_sha256,
        program_version=analysis.program_version,
        manifest=_manifest(models_dir, analysis),
    )


def _manifest(models_dir: Path, analysis: Analysis) -> Manifest | None:
    """Look up the manifest of the network that read the field, not of the one that serves now."""
    from utils.networks.manifest import Manifest

    place = models_dir / analysis.network_name / analysis.network_version / "manifest.json"
    try:
        manifest = Manifest.load(place)
    except (OSError, MarrowFindError):
        return None
    # Other weights under the same version have other thresholds.
    return manifest if manifest.weights_sha256 == analysis.network_sha256 else None


def _review(session: Session, analysis: Analysis) -> Review:
    events = review.load_events(session, analysis.id)
    now = review.standing(analysis, events)
    return Review(
        state=cast(ReviewState, now.state),
        code=now.code,
        who=now.by.user.name if now.by else "",
        at=now.by.at if now.by else None,
        entries=review.timeline(analysis, events) if events else (),
    )
