"""Reports: issue one, download it, and let anybody verify the paper."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_limiter.util import get_remote_address

from utils.errors import NotFound
from utils.records import ReportVersion, audit, db
from utils.web.security import limiter
from utils.web.services import services
from utils.web.views import analysis_of, me
from utils.workflow import access
from utils.workflow import report as reporting

blueprint = Blueprint("reports", __name__)

_MISSING: Final = "There is no such report, or none that you may see."
# The first half of the check code that is printed beside the QR code; it names nobody.
_SHORT_CODE: Final = 8


def _per_address() -> str:
    return f"{services().settings.verifications_per_minute} per minute"


@blueprint.post("/analyses/<public_id>/report")
def create(public_id: str) -> ResponseReturnValue:
    """Issue the report of a field as it stands, or point to the one that says just that."""
    analysis = analysis_of(public_id)
    access.require_report(me(), analysis)
    settings = services().settings
    before = _newest_number(analysis.id)
    version = reporting.issue_report(
        analysis,
        me(),
        blobs=services().blobs,
        models_dir=settings.models_dir,
        base_url=settings.public_url or request.url_root,
        laboratory_name=settings.laboratory_name,
    )
    if version.number == before:
        flash(f"Nothing changed since: version {version.number} is still current.", "info")
    else:
        flash(f"Report version {version.number} is issued. It is preliminary, not signed.", "ok")
    return redirect(url_for("analyses.show", public_id=public_id) + "#report", 303)


@blueprint.get("/reports/<public_id>.pdf")
def download(public_id: str) -> Response:
    """Give the PDF of one version to a person who may see the analysis."""
    version = db.session.scalar(
        sa.select(ReportVersion).where(ReportVersion.public_id == public_id)
    )
    if version is None or not access.can_view(me(), version.analysis):
        raise NotFound(_MISSING)
    pdf = services().blobs.read(version.pdf_sha256)
    # Nobody has the paper unless the trail says so: the entry is committed before the answer.
    audit.append(
        db.session(),
        action="report.view",
        object_type="report",
        object_id=public_id,
        actor_id=me().id,
        details={"version": version.number},
    )
    name = f"report-{version.content_sha256[:_SHORT_CODE]}-v{version.number}.pdf"
    db.session.commit()
    response = Response(pdf, mimetype="application/pdf")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/verify/<public_id>")
@limiter.limit(_per_address, key_func=get_remote_address)
def verify(public_id: str) -> ResponseReturnValue:
    """Say whether a paper is current, replaced or unknown; open to everybody, names nobody."""
    state = reporting.report_state(public_id, request.args.get("h"))
    page = render_template("reports/verify.html", state=state)
    return page, 404 if state.state == "unknown" else 200


def _newest_number(analysis_id: int) -> int | None:
    number: int | None = db.session.scalar(
        sa.select(sa.func.max(ReportVersion.number)).where(ReportVersion.analysis_id == analysis_id)
    )
    return number
