"""The start page and the upload, one image or many."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from utils.errors import ImageTooLarge, InvalidInput, MarrowFindError
from utils.records import Analysis, Case, db
from utils.web import refusals
from utils.web.errors import status_of, wants_json
from utils.web.labels import label_set
from utils.web.services import services
from utils.web.views import analysis_row, case_of, me
from utils.workflow import access, history, wording
from utils.workflow.analyse import analyse_image, find_upload, store_analysis

blueprint = Blueprint("start", __name__)

RECENT_ROWS: Final = 6
_KEY = re.compile(r"[A-Za-z0-9_-]{8,80}")


@dataclass(frozen=True)
class Outcome:
    """What became of one image of a submission: an analysis, or a sentence of refusal."""

    place: int
    analysis: Analysis | None = None
    error: MarrowFindError | None = None


@blueprint.get("/")
def index() -> str:
    """Show the drop zone and the newest analyses."""
    return _page()


@blueprint.post("/upload")
def upload() -> ResponseReturnValue:
    """Analyse and keep the images of a form; the same key never analyses twice."""
    case = _case_of_form()
    images = [image for image in request.files.getlist("images") if _was_chosen(image)]
    _check_number(images)
    key = _upload_key()
    if wants_json():
        return _answer_json(images, key, case)
    outcomes = list(_analyse_all(images, key, case))
    done = [outcome.analysis for outcome in outcomes if outcome.analysis is not None]
    failed = [(outcome.place, outcome.error) for outcome in outcomes if outcome.error is not None]
    if not done:
        return _page(case, failed), status_of(failed[0][1])
    if len(images) == 1:
        return redirect(url_for("analyses.show", public_id=done[0].public_id), 303)
    told = refusals.pack([(place, error.message) for place, error in failed])
    address = url_for("cases.show", public_id=done[0].case.public_id, refused=told or None)
    return redirect(address, 303)


def new_upload_key() -> str:
    """Make the key that a form carries, so that sending it again changes nothing."""
    return secrets.token_urlsafe(16)


def _page(case: Case | None = None, failed: list[tuple[int, MarrowFindError]] | None = None) -> str:
    recent = history.search(db.session(), me(), rows=RECENT_ROWS)
    return render_template(
        "start/index.html",
        upload_key=new_upload_key(),
        limits=services().settings,
        case=case,
        refused=[(place, error.message) for place, error in failed or []],
        recent=[analysis_row(row) for row in recent.rows],
    )


def _case_of_form() -> Case | None:
    public_id = request.form.get("case", "").strip()
    if not public_id:
        return None
    case = case_of(public_id)
    access.require_correct(me(), case)
    return case


def _was_chosen(image: FileStorage) -> bool:
    """Tell an empty file from a field in which nothing was chosen: that has no name either."""
    if image.filename:
        return True
    begins = image.stream.read(1)
    image.stream.seek(0)
    return bool(begins)


def _check_number(images: list[FileStorage]) -> None:
    most = services().settings.max_images_per_upload
    if not images:
        raise InvalidInput("At least one image was expected; none was chosen.", code="no_image")
    if len(images) > most:
        raise InvalidInput(
            f"At most {most} images at once were expected; {len(images)} came.",
            code="too_many_images",
        )


def _upload_key() -> str:
    key = request.form.get("upload_key", "")
    if not key:
        return new_upload_key()
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            "An upload key of 8 to 80 letters, digits, - or _ was expected.", code="upload_key"
        )
    return key


def _analyse_all(images: list[FileStorage], key: str, case: Case | None) -> Iterator[Outcome]:
    """Analyse one image after the other; one that fails takes nothing from the others."""
    for place, image in enumerate(images, start=1):
        own_key = key if len(images) == 1 else f"{key}.{place}"
        try:
            analysis = _analyse_one(image, own_key, case)
        except MarrowFindError as error:
            db.session.rollback()
            yield Outcome(place, error=error)
        else:
            case = case or analysis.case
            yield Outcome(place, analysis)


def _analyse_one(image: FileStorage, key: str, case: Case | None) -> Analysis:
    known = find_upload(db.session(), me(), key)
    if known is not None:
        return known
    classifier = services().classifier
    result = analyse_image(_read(image), classifier=classifier, settings=services().settings)
    return store_analysis(result, user=me(), upload_key=key, blobs=services().blobs, case=case)


def _read(image: FileStorage) -> bytes:
    most = services().settings.max_image_bytes
    data = image.stream.read(most + 1)
    if len(data) > most:
        raise ImageTooLarge(
            f"An image of at most {most / 1e6:g} MB was expected; this one is larger."
        )
    return data


def _answer_json(images: list[FileStorage], key: str, case: Case | None) -> Response:
    if len(images) != 1:
        raise InvalidInput("One image a request was expected.", code="one_image")
    analysis = _analyse_one(images[0], key, case)
    label = label_set(analysis).name(analysis.label_code) if analysis.label_code else None
    return jsonify(
        analysis={
            "id": analysis.public_id,
            "url": url_for("analyses.show", public_id=analysis.public_id),
            "headline": wording.headline(label),
            "label": analysis.label_code,
            "probability": analysis.probability,
            "probabilities": analysis.probabilities,
            "abstained": analysis.abstained,
            "flags": analysis.flags,
            "heat_on_cells": analysis.heat_on_cells,
            "cells": {"nucleated": analysis.nuclei_count},
        },
        case={
            "id": analysis.case.public_id,
            "url": url_for("cases.show", public_id=analysis.case.public_id),
        },
    )
