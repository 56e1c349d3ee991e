"""What the pages about analyses and cases share: finding a record, and a row for a list."""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa
from flask import url_for
from flask_login import current_user
from sqlalchemy.orm import joinedload, undefer

from utils.records import Analysis, Case, User, audit, db
from utils.web.labels import label_set
from utils.workflow import access, wording


def me() -> User:
    """The person who asks; every page but the public ones has one."""
    # The record itself and not Flask-Login's stand-in: the ORM links rows to it.
    return cast(User, current_user._get_current_object())


def analysis_of(public_id: str, *, whole: bool = False) -> Analysis:
    """Find an analysis that the person who asks may see.

    Parameters
    ----------
    whole : bool
        With its maps and outlines and everybody named on its page, in the same query.

    Raises
    ------
    NotFound
        If there is none, or none for this person.
    """
    statement = sa.select(Analysis).where(Analysis.public_id == public_id)
    if whole:
        statement = statement.options(
            undefer(Analysis.cams),
            undefer(Analysis.nuclei),
            joinedload(Analysis.case, innerjoin=True).joinedload(Case.owner, innerjoin=True),
            joinedload(Analysis.owner, innerjoin=True),
            joinedload(Analysis.reviewed_by),
        )
    analysis = db.session.scalar(statement)
    access.require_view(me(), analysis)
    assert analysis is not None  # require_view has refused it otherwise
    return analysis


def case_of(public_id: str) -> Case:
    """Find a case that the person who asks may see.

    Raises
    ------
    NotFound
        If there is none, or none for this person.
    """
    case = db.session.scalar(
        sa.select(Case)
        .where(Case.public_id == public_id)
        .options(joinedload(Case.owner, innerjoin=True))
    )
    access.require_view(me(), case)
    assert case is not None
    return case


def note_view(kind: str, public_id: str) -> None:
    """Put into the audit trail that the person who asks looked at a case or an analysis."""
    audit.append(
        db.session(),
        action=f"{kind}.view",
        object_type=kind,
        object_id=public_id,
        actor_id=me().id,
    )
    db.session.commit()


def analysis_row(analysis: Analysis) -> dict[str, Any]:
    """One analysis as a list shows it; its case and reviewer are loaded with it."""
    labels = label_set(analysis)
    reviewed = analysis.review_state != "unreviewed"
    warnings = [flag for flag in wording.flag_texts(analysis.flags) if flag.severity == "warning"]
    return {
        "url": url_for("analyses.show", public_id=analysis.public_id),
        "thumbnail_url": url_for(
            "analyses.layer", public_id=analysis.public_id, name="thumbnail.jpg"
        ),
        "accession": analysis.case.accession,
        "number": analysis.number,
        "created_at": analysis.created_at,
        "label_text": labels.name(analysis.label_code),
        "abstained": analysis.abstained,
        "probability": analysis.probability,
        "review_state": analysis.review_state,
        "reviewed_text": labels.name(analysis.reviewed_code) if reviewed else "",
        "reviewer_name": analysis.reviewed_by.name if analysis.reviewed_by else "",
        "nuclei_count": analysis.nuclei_count,
        "flags": [flag.title for flag in warnings],
    }
