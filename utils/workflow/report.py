"""Reports: issued once for each state of an analysis, never changed, verifiable for ever."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from utils import __version__
from utils.errors import Conflict
from utils.records import Analysis, Case, ReportVersion, User, audit, db
from utils.records.blobs import BlobStore
from utils.records.database import new_public_id, utc_now
from utils.reports.content import (
    HASH_PREFIX_CHARACTERS,
    FieldReport,
    Identity,
    Issue,
    ReportContent,
    Specimen,
    content_hash,
)
from utils.reports.pdf import render_report
from utils.reports.qr import verification_address
from utils.reports.theme import utc_time
from utils.workflow import access, wording
from utils.workflow.report_content import (
    PENDING_STUDIES,
    Review,
    field_report,
    unstored_reading,
)
from utils.workflow.report_stored import load_analysis, standing_of, stored_report

if TYPE_CHECKING:
    from utils.workflow.analyse import AnalysisResult

PROGRAM: Final = f"Marrow-Find {__version__}"
MOST_ATTEMPTS: Final = 6
StateOfPaper = Literal["current", "replaced", "unknown", "mismatch"]


@dataclass(frozen=True)
class ReportState:
    """What verification says of a paper; nothing about whom it concerns.

    Attributes
    ----------
    state : "current", "replaced", "unknown" or "mismatch"
        "mismatch": the paper's check code is not that of our record.
    compared : bool
        Whether a check code came and was compared.
    number, issued_at : int, datetime or None
        Version and time of issue; None for "unknown" and "mismatch".
    replaced_by, replaced_at : int, datetime or None
        Number and time of the version that came next.
    """

    state: StateOfPaper
    compared: bool = False
    number: int | None = None
    issued_at: datetime | None = None
    replaced_by: int | None = None
    replaced_at: datetime | None = None


@dataclass(frozen=True)
class _Desk:
    """What issuing needs beside the session."""

    user: User
    blobs: BlobStore
    models_dir: Path
    base_url: str
    laboratory_name: str


def issue_report(
    analysis: Analysis,
    user: User,
    *,
    blobs: BlobStore,
    models_dir: Path,
    base_url: str,
    laboratory_name: str = "",
) -> ReportVersion:
    """Issue the report of an analysis as it stands now, or give the one that says just that.

    The PDF is stored first, then its row, the audit entry and the state of the case in one
    transaction. Whatever changes meanwhile, be it a review or another report, makes it start
    again: no version ever says what was no longer so when it was issued.

    Parameters
    ----------
    analysis : Analysis
    user : User
        Who issues it.
    models_dir : Path
        Where the manifest of the network is looked up.
    base_url : str
        Address of the site, for the QR code.
    laboratory_name : str
        For the head of the pages; "" for none.

    Returns
    -------
    version : ReportVersion

    Raises
    ------
    NotAllowed, NotFound
        If `user` may not issue it.
    StorageFailed, StorageFull, DatabaseBusy
        Nothing is issued then.
    Conflict
        If the analysis kept changing.
    """
    access.require_report(user, analysis)
    session = db.session()
    desk = _Desk(user, blobs, models_dir, base_url, laboratory_name)
    analysis_id = analysis.id
    for _ in range(MOST_ATTEMPTS):
        try:
            version = _issue_once(session, analysis_id, desk)
        except IntegrityError:
            # Somebody else took the number, or replaced the same version, a moment before.
            session.rollback()
            continue
        except BaseException:
            session.rollback()
            raise
        if version is not None:
            return version
        session.rollback()
    raise Conflict("The analysis kept changing while its report was made. Please try again.")


def _issue_once(session: Session, analysis_id: int, desk: _Desk) -> ReportVersion | None:
    """Draw up, print and keep one version; None where something changed on the way."""
    # A fresh look: what the session holds may be older than the standing.
    session.expire_all()
    standing = standing_of(session, analysis_id)
    analysis = load_analysis(session, analysis_id)
    last = (
        session.get(ReportVersion, standing.last_version_id) if standing.last_version_id else None
    )
    report = stored_report(session, analysis, blobs=desk.blobs, models_dir=desk.models_dir)
    content = _content((report,), Issue(None, utc_now()), desk.laboratory_name)
    content_sha256 = content_hash(content)
    if last is not None and last.content_sha256 == content_sha256:
        session.rollback()
        return last
    version = ReportVersion(
        public_id=new_public_id(),
        case_id=analysis.case_id,
        analysis_id=analysis.id,
        number=last.number + 1 if last else 1,
        content_sha256=content_sha256,
        created_at=utc_now(),
        created_by_id=desk.user.id,
        replaces_id=last.id if last else None,
    )
    issue = _issue(version, last, desk)
    pdf = render_report(_content((report,), issue, desk.laboratory_name))
    version.pdf_sha256 = desk.blobs.put(pdf)
    _lock(session, analysis_id)
    if standing_of(session, analysis_id) != standing:
        return None
    return _keep(session, version, analysis, last, desk.user)


def _keep(
    session: Session,
    version: ReportVersion,
    analysis: Analysis,
    last: ReportVersion | None,
    user: User,
) -> ReportVersion:
    session.add(version)
    session.flush()
    session.execute(
        sa.update(Case)
        .where(Case.id == version.case_id, Case.state == "draft")
        .values(state="preliminary")
        .execution_options(synchronize_session=False)
    )
    audit.append(
        session,
        action="report.issue",
        object_type="report",
        object_id=version.public_id,
        actor_id=user.id,
        details={
            "analysis": analysis.public_id,
            "version": version.number,
            "pdf_sha256": version.pdf_sha256,
            "content_sha256": version.content_sha256,
            "replaces": last.public_id if last else None,
        },
    )
    session.commit()
    return version


def _lock(session: Session, analysis_id: int) -> None:
    """Keep reviews and other reports of this analysis out until the transaction ends."""
    session.execute(
        sa.update(Analysis)
        .where(Analysis.id == analysis_id)
        .values(review_state=Analysis.review_state)
        .execution_options(synchronize_session=False)
    )


def _issue(version: ReportVersion, last: ReportVersion | None, desk: _Desk) -> Issue:
    replaces = ""
    if last is not None:
        replaces = f"Replaces version {last.number} of {utc_time(last.created_at)}"
    return Issue(
        version=version.number,
        issued_at=version.created_at,
        issued_by=desk.user.name,
        verification_address=verification_address(
            desk.base_url, version.public_id, version.content_sha256
        ),
        replaces=replaces,
    )


def _content(reports: tuple[FieldReport, ...], issue: Issue, laboratory: str) -> ReportContent:
    return ReportContent(
        reports=reports,
        issue=issue,
        research_use_only=wording.RESEARCH_USE_ONLY,
        program=PROGRAM,
        laboratory_name=laboratory,
        pending_studies=PENDING_STUDIES,
    )


def report_for_unstored(
    results: Sequence[AnalysisResult],
    *,
    made_at: datetime | None = None,
    laboratory_name: str = "",
) -> bytes:
    """Print analyses that are not stored: one PDF, a page or more for each, no QR code.

    Parameters
    ----------
    results : sequence of AnalysisResult
        At least one; numbered in this order, without file names.
    made_at : datetime, optional
        With a time zone; now where not given.

    Raises
    ------
    ValueError
        If there are no results.
    """
    moment = made_at or utc_now()
    reports = tuple(
        field_report(
            unstored_reading(result, __version__),
            identity=Identity(field_number=f"Image {number} of {len(results)}"),
            specimen=Specimen(),
            review=Review(),
            provenance=(),
        )
        for number, result in enumerate(results, start=1)
    )
    return render_report(_content(reports, Issue(None, moment), laboratory_name))


def report_state(public_id: str, code: str | None = None) -> ReportState:
    """Say whether a paper is the current version, a replaced one, or none of ours.

    Parameters
    ----------
    public_id : str
        Identifier out of the QR code.
    code : str, optional
        First 16 digits of the content hash, out of the QR code as well.
    """
    session = db.session()
    version = session.scalar(sa.select(ReportVersion).where(ReportVersion.public_id == public_id))
    if version is None:
        return ReportState("unknown")
    if code is not None:
        expected = version.content_sha256[:HASH_PREFIX_CHARACTERS]
        if not hmac.compare_digest(expected.encode(), code.strip().lower().encode()):
            return ReportState("mismatch", compared=True)
    successor = session.scalar(
        sa.select(ReportVersion).where(ReportVersion.replaces_id == version.id)
    )
    return ReportState(
        state="replaced" if successor else "current",
        compared=code is not None,
        number=version.number,
        issued_at=version.created_at,
        replaced_by=successor.number if successor else None,
        replaced_at=successor.created_at if successor else None,
    )
