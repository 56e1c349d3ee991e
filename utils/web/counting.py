"""A case's differential, and the counter by hand."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from utils.errors import Conflict, InvalidInput
from utils.records import Case, db
from utils.web.differential_page import (
    counting_labels,
    describe,
    label_set_name,
    read_choice,
    read_target,
)
from utils.web.views import case_of, me, note_view
from utils.workflow import access, hand_counts
from utils.workflow.differential import TARGETS
from utils.workflow.hand_counts import Outcome, Press

blueprint = Blueprint("counting", __name__)

# The keys of the classes, in their order; u takes back.
KEYS: Final = "123456789abcdefghijklmnopqrstvwxyz"
MOST_EVENTS: Final = 500
_TAPE: Final = 200


@blueprint.get("/cases/<public_id>/differential")
def differential(public_id: str) -> ResponseReturnValue:
    """Show the cells of a case by class: confirmed, by the network alone, and by hand."""
    case = case_of(public_id)
    choice = read_choice(request.args)
    page = render_template("counting/differential.html", case=case, **describe(case, choice))
    note_view("case", public_id)
    return page, 422 if choice.errors else 200


@blueprint.get("/cases/<public_id>/count")
def counter(public_id: str) -> str:
    """Show the counter for the microscope."""
    case = case_of(public_id)
    access.require_correct(me(), case)
    target = read_target(request.args.get("target", "").strip())
    page = render_template("counting/count.html", case=case, **_describe_counter(case, target))
    note_view("case", public_id)
    return page


@blueprint.post("/cases/<public_id>/count")
def count(public_id: str) -> ResponseReturnValue:
    """Take presses: one from the form, or several from the page's script."""
    case = case_of(public_id)
    if request.is_json:
        return _count_many(case)
    try:
        _store(case, [_press_of_form()])
    except Conflict as error:
        # Nothing else would change if the person were led to an error page: the count is there.
        flash(error.message, "alert")
    target = request.form.get("target", "").strip()
    address = url_for("counting.counter", public_id=public_id, target=target or None)
    return redirect(f"{address}#counter", 303)


def _count_many(case: Case) -> ResponseReturnValue:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidInput("A list of counts was expected.")
    if body.get("person") != me().public_id:
        # Counts wait on a computer that several people use: they go to whoever made them.
        raise Conflict("These counts were made by another person.", code="other_person")
    presses = _presses(body.get("events"))
    outcome = hand_counts.count_all(case, me(), presses, label_set=label_set_name(), codes=_codes())
    refused = {press.request_key for press, _ in outcome.refused}
    return jsonify(
        stored=[press.request_key for press in presses if press.request_key not in refused],
        refused=[
            {"key": press.request_key, "code": error.code, "message": error.message}
            for press, error in outcome.refused
        ],
        **_standing(case),
    )


def _store(case: Case, presses: Sequence[Press]) -> Outcome:
    outcome = hand_counts.count_all(case, me(), presses, label_set=label_set_name(), codes=_codes())
    for _, error in outcome.refused:
        raise error
    return outcome


def _codes() -> list[str]:
    return [label.code for label in counting_labels()]


def _press_of_form() -> Press:
    # Each button carries its class and a key of its own: a double click counts once, and another
    # button of the same page is another press.
    for field, step in (("press", 1), ("take_back", -1)):
        code, _, key = request.form.get(field, "").rpartition(" ")
        if code:
            return Press(code, step, key)
    raise InvalidInput("A class to count was expected; none was chosen.")


def _presses(events: Any) -> list[Press]:
    if not isinstance(events, list) or len(events) > MOST_EVENTS:
        raise InvalidInput(f"A list of at most {MOST_EVENTS} counts was expected.")
    presses = []
    for event in events:
        given = event if isinstance(event, dict) else {}
        code, step, key = given.get("code"), given.get("step"), given.get("key")
        if not isinstance(code, str) or type(step) is not int or not isinstance(key, str):
            raise InvalidInput("Each count was expected with code, step and key.")
        presses.append(Press(code, step, key))
    return presses


def _standing(case: Case) -> dict[str, Any]:
    """Say what the person counted of the case so far, and what everybody did."""
    people = hand_counts.tally_by_person(db.session(), case, label_set=label_set_name())
    own = next((each.counts for each in people if each.user_public_id == me().public_id), {})
    last = hand_counts.last_counted(
        db.session(), case, me(), label_set=label_set_name(), most=_TAPE
    )
    return {"own": own, "last": last}


def _describe_counter(case: Case, target: int) -> dict[str, Any]:
    # Classes outside the total come last, out of the way of the fingers.
    labels = sorted(counting_labels(), key=lambda label: not label.counts_in_differential)
    standing = _standing(case)
    tiles = [
        {
            "code": label.code,
            "name": label.display_name,
            "short_name": label.short_name,
            "colour": label.colour,
            "counts": label.counts_in_differential,
            "count": standing["own"].get(label.code, 0),
            "key": KEYS[place] if place < len(KEYS) else "",
            "press": f"{label.code} {secrets.token_hex(16)}",
        }
        for place, label in enumerate(labels)
    ]
    last = [code for code in standing["last"] if code in {label.code for label in labels}]
    return {
        "tiles": tiles,
        "total": sum(tile["count"] for tile in tiles if tile["counts"]),
        "apart": sum(tile["count"] for tile in tiles if not tile["counts"]),
        "short_names": {label.code: label.short_name for label in labels},
        "last": last,
        "take_back": f"{last[-1]} {secrets.token_hex(16)}" if last else "",
        "target": target,
        "targets": TARGETS,
        "person": me().public_id,
    }
