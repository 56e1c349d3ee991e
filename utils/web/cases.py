"""A case: its fields, its details, and room for more images."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import joinedload

from utils.errors import InvalidInput
from utils.records import Analysis, Case, audit, db
from utils.web import refusals
from utils.web.services import services
from utils.web.start import new_upload_key
from utils.web.views import analysis_row, case_of, me, note_view
from utils.workflow import access
from utils.workflow.history import parse_day

blueprint = Blueprint("cases", __name__)

# Longest text of each detail, characters: the widths of the columns.
DETAILS: Final = {
    "accession": 64,
    "patient_reference": 120,
    "site": 120,
    "indication": 1000,
    "specimen_quality": 1000,
}


@blueprint.get("/cases/<public_id>")
def show(public_id: str) -> str:
    """Show the fields of a case, what it says of the specimen, and a place for more images."""
    page = _page(case_of(public_id))
    note_view("case", public_id)
    return page


@blueprint.post("/cases/<public_id>")
def details(public_id: str) -> ResponseReturnValue:
    """Change what a case says of the specimen."""
    case = case_of(public_id)
    access.require_correct(me(), case)
    given = {name: request.form.get(name, "").strip() for name in DETAILS}
    day = request.form.get("specimen_date", "").strip()
    errors = _errors(given, day)
    if errors:
        return _page(case, given | {"specimen_date": day}, errors), 422
    changed = _change(case, given | {"specimen_date": parse_day(day)})
    if changed:
        # Which details changed and not to what: the trail holds no patient data.
        audit.append(
            db.session(),
            action="case.details",
            object_type="case",
            object_id=case.public_id,
            actor_id=me().id,
            details={"changed": changed},
        )
        db.session.commit()
    flash("The details of the case are saved.", "ok")
    return redirect(url_for("cases.show", public_id=public_id), 303)


def _change(case: Case, values: dict[str, Any]) -> list[str]:
    changed = sorted(name for name, value in values.items() if getattr(case, name) != value)
    for name in changed:
        setattr(case, name, values[name])
    return changed


def _errors(given: dict[str, str], day: str) -> dict[str, str]:
    errors = {
        name: f"At most {longest} characters were expected; {len(given[name])} came."
        for name, longest in DETAILS.items()
        if len(given[name]) > longest
    }
    try:
        parse_day(day)
    except InvalidInput as error:
        errors["specimen_date"] = error.message
    return errors


def _page(
    case: Case, given: dict[str, Any] | None = None, errors: dict[str, str] | None = None
) -> str:
    statement = (
        sa.select(Analysis)
        .where(Analysis.case_id == case.id)
        .order_by(Analysis.number)
        .options(
            joinedload(Analysis.case, innerjoin=True),
            joinedload(Analysis.reviewed_by),
        )
    )
    analyses = list(db.session.scalars(statement))
    rows = [analysis_row(analysis) for analysis in analyses]
    values = given or {name: getattr(case, name) for name in (*DETAILS, "specimen_date")}
    return render_template(
        "cases/show.html",
        case=case,
        rows=rows,
        tiles=sum("single_cell" in analysis.reasons for analysis in analyses),
        nuclei=sum(row["nuclei_count"] for row in rows),
        reviewed=sum(row["review_state"] != "unreviewed" for row in rows),
        values=values,
        errors=errors or {},
        longest=DETAILS,
        may_change=access.can_correct(me(), case),
        refused=refusals.unpack(request.args.get("refused", "")),
        upload_key=new_upload_key(),
        limits=services().settings,
    )
