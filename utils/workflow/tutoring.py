"""Ask the tutor: a question is answered and kept at once; a language network may then rewrite it.

A conversation belongs to who began it, and to nobody else, whatever their role. It says nothing of
a case, and its owner may delete it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from utils.errors import Conflict, EndpointFailed, InvalidInput, NotFound
from utils.records import Analysis, Case, Cell, TutorConversation, TutorTurn, User
from utils.records.database import AnySession
from utils.records.tutoring import MOST_QUESTION_CHARACTERS
from utils.tutor.answer import Answer, Paragraph, compose, find_after
from utils.tutor.retrieval import shipped_index
from utils.tutor.writer import Endpoint, sentences, written
from utils.workflow import access

MOST_TURNS: Final = 200
_REMEMBERED: Final = 6
_MISSING: Final = "There is no such conversation here, or none of yours."
_log = logging.getLogger(__name__)


def ask(
    session: AnySession,
    user: User,
    question: str,
    *,
    key: str,
    conversation: TutorConversation | None = None,
) -> TutorTurn:
    """Answer a question from the passages and keep both; committed.

    Parameters
    ----------
    question : str
        At most `MOST_QUESTION_CHARACTERS`.
    key : str
        Chosen by the page: the same key again gives the same turn again.
    conversation : TutorConversation, optional
        Of `user`; a new one where absent.

    Returns
    -------
    turn : TutorTurn

    Raises
    ------
    InvalidInput
        If there is no question, or too long a one.
    Conflict
        If the conversation is full.
    """
    known = session.scalar(sa.select(TutorTurn).where(TutorTurn.request_key == key))
    if known is not None:
        require_own(user, known.conversation)
        return known
    question = checked_question(question)
    index = shipped_index()
    found = find_after(index, question, _earlier(conversation))
    if conversation is None:
        conversation = TutorConversation(user_id=user.id)
        session.add(conversation)
    elif len(conversation.turns) >= MOST_TURNS:
        raise Conflict("This conversation is full. Please begin a new one.", code="full")
    turn = TutorTurn(question=question, answer=as_stored(compose(index, found)), request_key=key)
    conversation.turns.append(turn)
    try:
        session.commit()
    except IntegrityError:
        # The same question, sent twice at once: the other was faster.
        session.rollback()
        known = session.scalar(sa.select(TutorTurn).where(TutorTurn.request_key == key))
        if known is None:
            raise
        return known
    return turn


def rewrite(session: AnySession, turn: TutorTurn, place: Endpoint) -> Iterator[Paragraph]:
    """Let a language network write the answer anew; what it wrote is kept at the end.

    Until then, and where it fails, the embedded answer stands: an answer is never lost.

    Yields
    ------
    paragraph : Paragraph
        Sentences as they come, each resting on a passage.
    """
    index = shipped_index()
    found = find_after(index, turn.question, _earlier(turn.conversation, turn))
    if not found.hits:
        return  # nothing to write from: what the tutor says of it stands
    kept: list[Paragraph] = []
    try:
        for paragraph in sentences(index, turn.question, found, place):
            kept.append(paragraph)
            yield paragraph
        answer = written(index, found, tuple(kept), place.network)
    except EndpointFailed as error:
        # The sentence names no question; the address is the operator's to find in the settings.
        _log.warning("tutor endpoint: %s", error.message)
        answer = replace(
            compose(index, found),
            note=f"{error.message} The tutor has answered from its passages by itself.",
        )
    turn.answer = as_stored(answer)
    session.commit()


def _earlier(conversation: TutorConversation | None, turn: TutorTurn | None = None) -> list[str]:
    """The last questions of a conversation, those before `turn` where it is given."""
    turns = conversation.turns if conversation is not None else []
    until = turns.index(turn) if turn is not None else len(turns)
    return [earlier.question for earlier in turns[max(0, until - _REMEMBERED) : until]]


def checked_question(question: str) -> str:
    """The question on one line.

    Raises
    ------
    InvalidInput
        If it is empty or too long.
    """
    question = " ".join(question.split())
    if not question:
        raise InvalidInput("Please type a question.", code="no_question")
    if len(question) > MOST_QUESTION_CHARACTERS:
        raise InvalidInput(
            f"At most {MOST_QUESTION_CHARACTERS} characters were expected; "
            f"these were {len(question)}.",
            code="question_too_long",
        )
    return question


def as_stored(answer: Answer) -> dict[str, Any]:
    """What is kept of an answer."""
    return asdict(answer)


def from_stored(stored: dict[str, Any]) -> Answer:
    """An answer as it was given."""
    paragraphs = tuple(Paragraph(p["text"], tuple(p["cites"])) for p in stored["paragraphs"])
    return Answer(
        kind=stored["kind"],
        paragraphs=paragraphs,
        cited=tuple(stored["cited"]),
        near=tuple(stored["near"]),
        writer=stored["writer"],
        note=stored["note"],
    )


def require_own(user: User, conversation: TutorConversation | None) -> TutorConversation:
    """Pass it on, or say that there is none.

    Raises
    ------
    NotFound
        If it is None or another person's.
    """
    if conversation is None or conversation.user_id != user.id:
        raise NotFound(_MISSING)
    return conversation


def conversation_of(session: AnySession, user: User, public_id: str) -> TutorConversation:
    """Find a conversation of `user`, with its turns.

    Raises
    ------
    NotFound
        If there is none, or none of this person.
    """
    statement = (
        sa.select(TutorConversation)
        .where(TutorConversation.public_id == public_id)
        .options(selectinload(TutorConversation.turns))
    )
    return require_own(user, session.scalar(statement))


def turn_of(session: AnySession, user: User, key: str) -> TutorTurn:
    """Find a turn of `user` by the key that its page chose.

    Raises
    ------
    NotFound
        If there is none, or none of this person.
    """
    turn = session.scalar(sa.select(TutorTurn).where(TutorTurn.request_key == key))
    require_own(user, turn.conversation if turn is not None else None)
    assert turn is not None
    return turn


def conversations_of(
    session: AnySession, user: User, *, most: int = 50
) -> Sequence[TutorConversation]:
    """List the newest conversations of `user`."""
    statement = (
        sa.select(TutorConversation)
        .where(TutorConversation.user_id == user.id)
        .order_by(TutorConversation.id.desc())
        .limit(most)
        .options(selectinload(TutorConversation.turns))
    )
    return session.scalars(statement).all()


def delete(session: AnySession, user: User, conversation: TutorConversation) -> None:
    """Delete a conversation with all that was said in it; committed."""
    session.delete(require_own(user, conversation))
    session.commit()


def delete_all(session: AnySession, user: User) -> int:
    """Delete every conversation of `user`; committed. Returns how many there were."""
    own = sa.select(TutorConversation.id).where(TutorConversation.user_id == user.id)
    session.execute(sa.delete(TutorTurn).where(TutorTurn.conversation_id.in_(own)))
    gone = session.execute(sa.delete(TutorConversation).where(TutorConversation.user_id == user.id))
    session.commit()
    return int(getattr(gone, "rowcount", 0))


def reference_cells(
    session: AnySession, user: User, codes: Sequence[str], *, most: int = 8
) -> list[tuple[str, int]]:
    """Confirmed cells of some classes, as pictures beside a topic: field's public id and number.

    Only cells that `user` may see; the newest first.
    """
    if not codes:
        return []
    statement: Any = (
        sa.select(Analysis.public_id, Cell.number)
        .select_from(Cell)
        .join(Analysis, Analysis.id == Cell.analysis_id)
        .join(Case, Case.id == Analysis.case_id)
        .where(
            Cell.present,
            Cell.review_state != "unreviewed",
            Cell.reviewed_code.in_(codes),
        )
        .order_by(Cell.reviewed_at.desc(), Cell.id.desc())
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(access.only_visible(statement, user))]
