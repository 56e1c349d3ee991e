"""The tutor: ask, read on in its topics, keep or delete what was said."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue

from utils.errors import CorpusInvalid, InvalidInput, NotFound
from utils.records import TutorConversation, TutorTurn, db
from utils.records.tutoring import MOST_QUESTION_CHARACTERS
from utils.tutor.answer import Answer
from utils.tutor.passages import Topic, shipped_corpus
from utils.tutor.writer import Endpoint
from utils.web.security import limiter
from utils.web.services import services
from utils.web.views import me
from utils.workflow import tutoring
from utils.workflow.case_gallery import confirmed_cells

blueprint = Blueprint("tutor", __name__)

ROOM_TITLES: Final = {
    "cells": "Cells",
    "patterns": "Patterns and stages",
    "counting": "Counting",
    "specimen": "Smear and stain",
    "images": "What the network does",
    "program": "This program",
}
EXAMPLES: Final = (
    "How do I tell a hematogone from a blast?",
    "How big is a promyelocyte?",
    "How many cells should be counted?",
    "What does a heatmap not show?",
    "Which cells count in the denominator?",
)
# Sections on measurements whose names end otherwise.
_MEASURES: Final = {
    "ratio": "nc_ratio",
    "diameter": "equivalent_diameter",
    "entropy": "chromatin_entropy",
    "contrast": "glcm_contrast",
    "red": "cytoplasm_colour",
    "green": "cytoplasm_colour",
    "blue": "cytoplasm_colour",
}
_KEY: Final = re.compile(r"[\w-]{1,64}", re.ASCII)


def _per_minute() -> str:
    return f"{services().settings.tutor_questions_per_minute} per minute"


def _person() -> str:
    return f"tutor:{me().id}"


@blueprint.get("/tutor")
def index() -> str:
    """Show where to ask, what the tutor knows, and one's own conversations."""
    corpus = shipped_corpus()
    rooms = [
        (title, sorted((t for t in corpus.topics.values() if t.room == room), key=_by_title))
        for room, title in ROOM_TITLES.items()
    ]
    before = request.args.get("before", type=int)
    talks, further = tutoring.conversations_of(db.session(), me(), before=before)
    return render_template(
        "tutor/index.html",
        rooms=rooms,
        examples=EXAMPLES,
        asked=request.args.get("q", "")[:MOST_QUESTION_CHARACTERS],
        conversations=talks,
        further=further,
        total=tutoring.count_conversations(db.session(), me()),
        **_form(),
    )


def _by_title(topic: Topic) -> str:
    return topic.title.casefold()


@blueprint.get("/tutor/topics/<name>")
def topic(name: str) -> str:
    """Show all passages of a topic with their sources, and confirmed cells of its class."""
    corpus = shipped_corpus()
    found = corpus.topics.get(name)
    if found is None:
        raise NotFound("There is no such topic.")
    keys = dict.fromkeys(key for passage in found.passages for key in passage.sources)
    cells = confirmed_cells(db.session(), me(), found.labels)
    return render_template(
        "tutor/topic.html",
        topic=found,
        room=ROOM_TITLES[found.room],
        sources={key: (i, corpus.sources[key]) for i, key in enumerate(keys, start=1)},
        see=[corpus.topics[other] for other in found.see],
        cells=[
            {
                "url": url_for("cells.show", public_id=field, number=number),
                "crop_url": url_for("cells.crop", public_id=field, number=number),
            }
            for field, number in cells
        ],
        **_form(),
    )


@blueprint.get("/tutor/conversations/<public_id>")
def conversation(public_id: str) -> str:
    """Show a conversation of one's own."""
    found = tutoring.conversation_of(db.session(), me(), public_id)
    turns = [_turn_view(turn) for turn in found.turns]
    return render_template(
        "tutor/conversation.html", conversation=found, turns=turns, **_form(found)
    )


@blueprint.post("/tutor/questions")
@limiter.limit(_per_minute, key_func=_person)
def ask() -> ResponseReturnValue:
    """Answer a question: by redirect for the form, as a piece of the page for its script."""
    given: Any = request.get_json(silent=True) if request.is_json else request.form
    if not isinstance(given, Mapping):
        raise InvalidInput("A question was expected.")
    key = str(given.get("key") or "") or secrets.token_urlsafe(16)
    session, asked_in = db.session(), str(given.get("conversation") or "")
    if not _KEY.fullmatch(key) or (asked_in and not _KEY.fullmatch(asked_in)):
        raise InvalidInput("The form was not as expected. Please reload the page.")
    turn, new = tutoring.ask(
        session,
        me(),
        str(given.get("question") or ""),
        key=key,
        conversation=tutoring.conversation_of(session, me(), asked_in) if asked_in else None,
    )
    place = _endpoint() if _may_be_rewritten(turn) else None
    address = url_for(".conversation", public_id=turn.conversation.public_id)
    if request.is_json:
        return jsonify(
            url=address,
            turn=_rendered(turn),
            rewrite=url_for(".rewrite", key=turn.request_key) if place else None,
        )
    if place is not None and new:
        for _ in tutoring.rewrite(session, turn, place):
            pass  # without a script the page comes when the answer is whole
    return redirect(f"{address}#turn-{turn.id}", 303)


@blueprint.post("/tutor/questions/<key>/rewrite")
@limiter.limit(_per_minute, key_func=_person)
def rewrite(key: str) -> Response:
    """Send the sentences of the language network as they come, and the whole turn at the end."""
    tutoring.turn_of(db.session(), me(), key)  # refused before anything is sent
    response = Response(stream_with_context(_events(key)), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy must not hold the sentences back
    return response


def _events(key: str) -> Iterator[str]:
    # The view's own session is closed by now: the turn is looked up in that of the stream.
    yield ": begun\n\n"  # a proxy must see something before the first sentence
    turn = tutoring.turn_of(db.session(), me(), key)
    place = _endpoint() if _may_be_rewritten(turn) else None
    if place is not None:
        for paragraph in tutoring.rewrite(db.session(), turn, place):
            yield _event("sentence", {"text": paragraph.text})
    with suppress(NotFound):  # deleted meanwhile
        yield _event("turn", {"turn": _rendered(tutoring.turn_of(db.session(), me(), key))})


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


@blueprint.post("/tutor/conversations/<public_id>/delete")
def delete(public_id: str) -> ResponseReturnValue:
    """Delete a conversation of one's own."""
    session = db.session()
    tutoring.delete(session, me(), tutoring.conversation_of(session, me(), public_id))
    flash("The conversation is deleted.", "ok")
    return redirect(url_for(".index"), 303)


@blueprint.post("/tutor/conversations/delete")
def delete_all() -> ResponseReturnValue:
    """Delete all of one's own conversations."""
    gone = tutoring.delete_all(db.session(), me())
    flash(f"{gone} conversation{'s are' if gone != 1 else ' is'} deleted.", "ok")
    return redirect(url_for(".index"), 303)


@blueprint.get("/tutor/conversations/<public_id>/export.<kind>")
def export(public_id: str, kind: str) -> Response:
    """Give a conversation as Markdown or JSON."""
    found = tutoring.conversation_of(db.session(), me(), public_id)
    views = [_turn_view(turn) for turn in found.turns]
    if kind == "json":
        text, mimetype = json.dumps(_as_data(found, views), indent=1), "application/json"
    elif kind == "md":
        text = render_template("tutor/export.md", conversation=found, turns=views)
        mimetype = "text/markdown"
    else:
        raise NotFound("A conversation is exported as .md or as .json.")
    response = Response(text, mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="tutor.{kind}"'
    return response


@blueprint.app_template_global()
def explain_label(code: str | None) -> str | None:
    """Address of the topic on a class, or None."""
    with suppress(CorpusInvalid):  # a page of results must not fail with the tutor
        found = shipped_corpus().topic_of_label(code) if code else None
        return url_for("tutor.topic", name=found.name) if found else None
    return None


@blueprint.app_template_global()
def explain_passage(topic: str, section: str) -> str | None:
    """Address of a passage, or None where the corpus does not hold it."""
    with suppress(CorpusInvalid):
        if shipped_corpus().passage(f"{topic}#{section}") is not None:
            return url_for("tutor.topic", name=topic, _anchor=section)
    return None


@blueprint.app_template_global()
def explain_measure(name: str) -> str | None:
    """Address of the passage on a measurement of cells, or None."""
    last = name.removesuffix("_px").removesuffix("_um").removesuffix("_um2").rpartition("_")[2]
    return explain_passage("cell_measurements", _MEASURES.get(last, last))


def _form(found: TutorConversation | None = None) -> dict[str, Any]:
    return {
        "key": secrets.token_urlsafe(16),
        "most": MOST_QUESTION_CHARACTERS,
        "asked_in": found.public_id if found is not None else "",
        "writer": services().settings.tutor_network if _endpoint() else "",
    }


def _endpoint() -> Endpoint | None:
    settings = services().settings
    if not settings.tutor_endpoint:
        return None
    return Endpoint(
        address=settings.tutor_endpoint,
        network=settings.tutor_network,
        key=settings.tutor_key,
        seconds=settings.tutor_seconds,
        lock=settings.instance_dir / ".tutor-endpoint.lock",
    )


def _may_be_rewritten(turn: TutorTurn) -> bool:
    """Whether the answer is the tutor's own, and one that passages were found for."""
    answer = tutoring.from_stored(turn.answer)
    return answer.kind == "answer" and answer.writer == "embedded" and not answer.note


def _rendered(turn: TutorTurn) -> str:
    macro = current_app.jinja_env.get_template("tutor/_turn.html").module
    return str(macro.turn(_turn_view(turn)))  # type: ignore[attr-defined]


def _turn_view(turn: TutorTurn) -> dict[str, Any]:
    """A turn with its passages, titles and addresses; what left the corpus since is named only."""
    answer = tutoring.from_stored(turn.answer)
    return {
        "id": turn.id,
        "at": turn.at,
        "question": turn.question,
        "answer": answer,
        "cited": _cited(answer),
        "near": [_topic_link(name) for name in answer.near if name in shipped_corpus().topics],
    }


def _topic_link(name: str) -> dict[str, str]:
    return {
        "title": shipped_corpus().topics[name].title,
        "url": url_for("tutor.topic", name=name),
    }


def _cited(answer: Answer) -> list[dict[str, Any]]:
    corpus = shipped_corpus()
    rows: list[dict[str, Any]] = []
    for name in answer.cited:
        passage = corpus.passage(name)
        if passage is None:
            rows.append({"title": name, "url": None, "sources": []})
            continue
        rows.append(
            {
                "title": f"{corpus.topics[passage.topic].title}: {passage.title}",
                "url": url_for("tutor.topic", name=passage.topic, _anchor=passage.section),
                "sources": [corpus.sources[key] for key in passage.sources],
            }
        )
    return rows


def _as_data(found: TutorConversation, views: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "program": "Marrow-Find",
        "notice": "For Research Use Only. Not for use in diagnostic procedures.",
        "begun_at": found.created_at.isoformat(),
        "turns": [
            {
                "at": view["at"].isoformat(),
                "question": view["question"],
                "kind": view["answer"].kind,
                "answer": view["answer"].text,
                "writer": view["answer"].writer,
                "note": view["answer"].note,
                "passages": [
                    {"title": row["title"], "sources": [s.title for s in row["sources"]]}
                    for row in view["cited"]
                ],
            }
            for view in views
        ],
    }
