"""What a person does to the cells of a field: one address for all, with and without script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, Response, flash, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue

from utils.errors import InvalidInput
from utils.records import Analysis, CellEvent, db
from utils.web.cell_page import describe_event
from utils.web.labels import cell_choices
from utils.web.security import limiter
from utils.web.services import services
from utils.web.views import analysis_of, me
from utils.workflow import access, cell_repair, cell_review
from utils.workflow.cell_events import Request, last_id, load_events

blueprint = Blueprint("cell_actions", __name__)

# Finding all cells of a large field takes a second: the slider asks often, a machine would more.
_PREVIEWS: Final = "120 per minute"


@blueprint.post("/analyses/<public_id>/cells/act")
def act(public_id: str) -> ResponseReturnValue:
    """Do one thing to some cells of a field."""
    analysis = analysis_of(public_id)
    access.require_correct(me(), analysis)
    scripted = request.is_json
    given: Mapping[str, Any] = _body() if scripted else _form()
    event = _apply(analysis, given)
    sentence = describe_event(event) if event else "Nothing had to be changed."
    if scripted:
        seen = last_id(load_events(db.session(), analysis.id))
        drawn = event.changes.get("added", []) if event else []
        response = jsonify({"seen": seen, "sentence": sentence, "added": drawn})
        response.headers["Cache-Control"] = "no-store"
        return response
    flash(sentence, "ok")
    return redirect(url_for("analyses.show", public_id=public_id) + "#cells", 303)


@blueprint.get("/analyses/<public_id>/cells/preview")
@limiter.limit(_PREVIEWS)
def preview(public_id: str) -> Response:
    """Outline what would be found with another least distance between cells."""
    analysis = analysis_of(public_id)
    access.require_correct(me(), analysis)
    distance = _whole(request.args.get("distance", ""), "distance")
    found = cell_repair.preview(analysis, services().settings, distance)
    response = jsonify(
        {
            "count": len(found),
            "outlines": [(outline.polygons(outline.cell) or [[]])[0] for outline in found],
        }
    )
    response.headers["Cache-Control"] = "private, max-age=600"
    return response


def _apply(analysis: Analysis, given: Mapping[str, Any]) -> CellEvent | None:
    session, settings = db.session(), services().settings
    action = str(given.get("action", ""))
    asked = Request(
        analysis=analysis,
        user=me(),
        key=str(given.get("key", "")),
        seen=None if given.get("seen") in (None, "") else _whole(given["seen"], "seen"),
        reason=str(given.get("reason", "")),
    )
    if action == "undo":
        return cell_review.undo(asked)
    if action == "redo":
        return cell_review.redo(asked)
    if action == "find_again":
        distance = _whole(given.get("distance"), "distance")
        return cell_repair.find_again(session, asked, settings, distance)
    if action == "add":
        place = _number(given.get("y")), _number(given.get("x"))
        return cell_repair.add(session, asked, settings, place)
    numbers = _numbers(given.get("cells", []))
    if action == "confirm":
        return cell_review.confirm(asked, numbers)
    if action == "correct":
        codes = [label.code for label in cell_choices().labels]
        return cell_review.correct(asked, numbers, str(given.get("code", "")), codes)
    if action == "remove":
        return cell_repair.remove(session, asked, numbers)
    if action == "merge":
        return cell_repair.merge(session, asked, settings, numbers)
    if action == "split":
        if len(numbers) != 1:
            raise InvalidInput("One cell to split was expected.", code="split_number")
        return cell_repair.split(session, asked, settings, numbers[0])
    raise InvalidInput("An action on cells was expected.", code="action_unknown")


def _body() -> Mapping[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidInput("A JSON object was expected.", code="json_expected")
    return body


def _form() -> Mapping[str, Any]:
    """Read a form, whose buttons say action and class in one value."""
    action, _, code = request.form.get("do", "").partition(":")
    return {
        "action": action,
        "code": code,
        "cells": request.form.getlist("cells"),
        **{name: request.form.get(name) for name in ("key", "seen", "distance", "x", "y")},
        "reason": request.form.get("reason", "").strip(),
    }


def _numbers(given: Any) -> list[int]:
    if not isinstance(given, list):
        raise InvalidInput("A list of cells was expected.", code="cells_none")
    return [_whole(number, "cells") for number in given]


def _whole(given: Any, name: str) -> int:
    text = str(given)
    if isinstance(given, bool) or not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise InvalidInput(f"A whole number was expected for {name}.", code="number_expected")
    return int(text)


def _number(given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise InvalidInput("A place in the picture was expected.", code="place_outside") from error
