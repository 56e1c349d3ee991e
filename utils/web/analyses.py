"""The analysis page with its layers and its review, and the history."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from flask import (
    Blueprint,
    Response,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue

from utils.errors import Conflict, InvalidInput, NotFound
from utils.records import Analysis, User, audit, db
from utils.records.analyses import REVIEW_STATES
from utils.web.analysis_page import Draft, describe
from utils.web.errors import status_of
from utils.web.labels import serving_label_set
from utils.web.services import services
from utils.web.views import analysis_of, analysis_row, me, note_view
from utils.workflow import history as finding
from utils.workflow import pictures, review, wording

blueprint = Blueprint("analyses", __name__)

# Pictures of an analysis never change. They stay in the browser for a day, and in no shared cache.
_KEEP: Final = "private, max-age=86400, immutable"
_HEATMAP = re.compile(r"heatmap-([A-Za-z0-9_-]{1,32})-([a-z]{1,16})\.png")


@blueprint.get("/analyses")
def history() -> str:
    """List analyses: search, filter, sort, page by key."""
    filters, sort = _filters()
    session = db.session()
    page = finding.search(
        session,
        me(),
        filters,
        sort=sort,
        after=request.args.get("after", ""),
        before=request.args.get("before", ""),
    )
    return render_template(
        "analyses/history.html",
        rows=[analysis_row(row) for row in page.rows],
        filters=_shown_filters(),
        choices=_choices(),
        next_url=_history_url(after=page.after) if page.after else None,
        prev_url=_history_url(before=page.before) if page.before else None,
        csv_url=_history_url(endpoint="analyses.history_csv"),
    )


@blueprint.get("/analyses.csv")
def history_csv() -> Response:
    """Give the filtered list as a table for spreadsheets."""
    filters, _ = _filters()
    user_id = me().id
    audit.append(
        db.session(),
        action="analysis.export",
        object_type="user",
        object_id=me().public_id,
        actor_id=user_id,
    )
    db.session.commit()

    def lines() -> Iterator[str]:
        # The request's own session ends before its answer is read, and the person with it.
        own = db.session()
        yield from finding.csv_lines(own, own.get_one(User, user_id), filters)

    response = Response(stream_with_context(lines()), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="analyses.csv"'
    return response


@blueprint.get("/analyses/<public_id>")
def show(public_id: str) -> str:
    """Show one field: layers, result, review."""
    analysis = analysis_of(public_id, whole=True)
    page = _page(analysis)
    # Nobody sees the page unless the trail says so: the entry is committed before the answer.
    note_view("analysis", public_id)
    return page


@blueprint.get("/analyses/<public_id>/layers/<name>")
def layer(public_id: str, name: str) -> Response:
    """Give one picture of a field."""
    analysis = analysis_of(public_id)
    stored = {
        "original": (analysis.original_sha256, analysis.original_media_type),
        "clahe": (analysis.clahe_sha256, "image/jpeg"),
        "boundaries.png": (analysis.boundaries_sha256, "image/png"),
        "thumbnail.jpg": (analysis.thumbnail_sha256, "image/jpeg"),
    }
    if name in stored:
        return _stored(*stored[name])
    wanted = _HEATMAP.fullmatch(name)
    if wanted is None or wanted[1] not in analysis.probabilities:
        raise NotFound("There is no such layer of this field.")
    if wanted[2] not in pictures.COLOUR_MAPS:
        raise NotFound("There is no such colour map.")
    return _heatmap(analysis, wanted[1], wanted[2])


@blueprint.post("/analyses/<public_id>/label")
def label(public_id: str) -> ResponseReturnValue:
    """Confirm, correct or undo; what was said before is kept."""
    analysis = analysis_of(public_id)
    draft = Draft(
        action=request.form.get("action", ""),
        code=request.form.get("code", ""),
        reason=request.form.get("reason", ""),
        note=request.form.get("note", "").strip(),
    )
    try:
        _apply(analysis, draft)
    except (Conflict, InvalidInput) as error:
        # The page comes back with what is there now and with what the person had chosen.
        db.session.rollback()
        again = analysis_of(public_id, whole=True)
        return _page(again, draft=draft, fault=error), status_of(error)
    return redirect(url_for("analyses.show", public_id=public_id) + "#review", 303)


def _apply(analysis: Analysis, draft: Draft) -> None:
    seen = _seen_event_id()
    if draft.action == "confirm":
        review.confirm(analysis, me(), draft.note, seen_event_id=seen)
    elif draft.action == "undo":
        review.undo(analysis, me(), seen_event_id=seen)
    elif draft.action == "correct":
        if not draft.code:
            raise InvalidInput("A pattern to correct to was expected; none was chosen.")
        code = None if draft.code == finding.UNCLASSIFIABLE_FILTER else draft.code
        reason = wording.reason_text(draft.reason, draft.note)
        review.correct(analysis, me(), code, reason, seen_event_id=seen)
    else:
        raise InvalidInput("One of confirm, correct and undo was expected.")


def _seen_event_id() -> int | None:
    text = request.form.get("seen", "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise InvalidInput("The form is not one of this page; reload it.")
    return int(text)


def _page(
    analysis: Analysis, *, draft: Draft | None = None, fault: Conflict | InvalidInput | None = None
) -> str:
    page = describe(analysis, request.args, draft)
    return render_template("analyses/show.html", analysis=analysis, fault=fault, **page)


def _stored(sha256: str, media_type: str) -> Response:
    response = Response(mimetype=media_type)
    response.set_etag(sha256)
    response.headers["Cache-Control"] = _KEEP
    if request.if_none_match.contains(sha256):
        response.status_code = 304
        return response
    response.set_data(services().blobs.read(sha256))
    return response


def _heatmap(analysis: Analysis, code: str, colour_map: str) -> Response:
    # The maps of an analysis never change, so that its own id and the version name the picture.
    key = f"{analysis.public_id} {code} {colour_map} {pictures.HEATMAP_SIDE_PX}"
    tag = hashlib.sha256(key.encode()).hexdigest()
    response = Response(mimetype="image/png")
    response.set_etag(tag)
    response.headers["Cache-Control"] = _KEEP
    if request.if_none_match.contains(tag):
        response.status_code = 304
        return response
    cams = np.asarray(analysis.cams, dtype=np.float32)
    response.set_data(
        pictures.heatmap_png(
            cams[list(analysis.probabilities).index(code)],
            ceiling=pictures.shared_ceiling(cams),
            width_px=analysis.width_px,
            height_px=analysis.height_px,
            colour_map=colour_map,
        )
    )
    return response


def _shown_filters() -> dict[str, str]:
    names = ("q", "label", "state", "reviewer", "from", "to", "sort")
    return {name: request.args.get(name, "").strip() for name in names}


def _filters() -> tuple[finding.Filters, finding.Sort]:
    shown = _shown_filters()
    if shown["state"] not in ("", *REVIEW_STATES):
        raise InvalidInput(f"A review state out of {', '.join(REVIEW_STATES)} was expected.")
    filters = finding.Filters(
        label=shown["label"],
        review=shown["state"],
        since=finding.parse_day(shown["from"]),
        until=finding.parse_day(shown["to"]),
        reviewer=shown["reviewer"],
        text=shown["q"],
    )
    return filters, finding.parse_sort(shown["sort"])


def _choices() -> dict[str, list[tuple[str, str]]]:
    classes = [(label.code, label.name) for label in serving_label_set().labels]
    return {
        "classes": [*classes, (finding.UNCLASSIFIABLE_FILTER, wording.UNCLASSIFIABLE)],
        "states": [(state, state.capitalize()) for state in REVIEW_STATES],
        "reviewers": [(user.public_id, user.name) for user in finding.reviewers(db.session())],
        "sorts": list(finding.SORTS.items()),
    }


def _history_url(endpoint: str = "analyses.history", **keys: Any) -> str:
    kept: dict[str, Any] = {name: value for name, value in _shown_filters().items() if value}
    return url_for(endpoint, **kept, **keys)
