"""Ask the tutor: a question is answered and kept at once; a language network may then rewrite it.

A conversation belongs to who began it, and to nobody else, whatever their role. It says nothing of
a case, and its owner may delete it.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError

from utils.errors import Conflict, EndpointFailed, InvalidInput, NotFound
from utils.records import TutorConversation, TutorTurn, User
from utils.records.database import AnySession
from utils.records.tutoring import MOST_QUESTION_CHARACTERS
from utils.tutor.answer import Answer, Paragraph, compose, find
from utils.tutor.retrieval import shipped_index
from utils.tutor.writer import Endpoint, sentences, written

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
) -> tuple[TutorTurn, bool]:
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
    new : bool
        Whether it was asked just now, and not before with the same key.

    Raises
    ------
    InvalidInput
        If there is no question, or too long a one.
    Conflict
        If the conversation is full.
    """
    question = checked_question(question)
    known = _of_key(session, key)
    if known is not None:
        return _same(user, known, question), False
    index = shipped_index()
    found = find(index, question, _earlier(conversation))
    if conversation is None:
        conversation = TutorConversation(user_id=user.id)
        session.add(conversation)
    elif len(conversation.turns) >= MOST_TURNS:
        raise Conflict("This conversation is full. Please begin a new one.", code="full")
    turn = TutorTurn(question=question, answer=as_stored(compose(index, found)), request_key=key)
    conversation.turns.append(turn)
    try:
        session.commit()
    except IntegrityError as error:
        # The same question, sent twice at once: the other was faster. Or the conversation is gone.
        session.rollback()
        known = _of_key(session, key)
        if known is None:
            raise NotFound(_MISSING) from error
        return _same(user, known, question), False
    return turn, True


def _of_key(session: AnySession, key: str) -> TutorTurn | None:
    return session.scalar(sa.select(TutorTurn).where(TutorTurn.request_key == key))


def _same(user: User, known: TutorTurn, question: str) -> TutorTurn:
    """A turn that was asked before with the same key; only if it was the same question."""
    require_own(user, known.conversation)
    if known.question != question:
        raise Conflict("This form was used already. Please ask again.", code="key_used")
    return known


def rewrite(session: AnySession, turn: TutorTurn, place: Endpoint) -> Iterator[Paragraph]:
    """Let a language network write the answer anew; what it wrote is kept at the end.

    Until then, and where it fails, the embedded answer stands: an answer is never lost. No
    transaction is open while the network is waited for, and an answer that was deleted or written
    meanwhile is left as it is.

    Yields
    ------
    paragraph : Paragraph
        Sentences as they come, each resting on a passage.
    """
    index = shipped_index()
    found = find(index, turn.question, _earlier(turn.conversation, turn))
    if not found.hits:
        return  # nothing to write from: what the tutor says of it stands
    key, conversation_id, before = turn.request_key, turn.conversation_id, turn.answer
    session.rollback()
    kept: list[Paragraph] = []
    try:
        for paragraph in sentences(found, place):
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
    now = _of_key(session, key)
    if now is not None and now.conversation_id == conversation_id and now.answer == before:
        now.answer = as_stored(answer)
    try:
        session.commit()
    except StaleDataError:
        session.rollback()  # deleted in this very moment


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
    kept = (c for c in question if unicodedata.category(c) not in ("Cc", "Cs") or c.isspace())
    question = " ".join("".join(kept).split())
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
    turn = _of_key(session, key)
    require_own(user, turn.conversation if turn is not None else None)
    assert turn is not None
    return turn


@dataclass(frozen=True)
class Talk:
    """One conversation in a list."""

    public_id: str
    created_at: datetime
    title: str
    questions: int


def conversations_of(
    session: AnySession, user: User, *, before: int | None = None, most: int = 50
) -> tuple[list[Talk], int | None]:
    """List conversations of `user`, the newest first.

    Parameters
    ----------
    before : int, optional
        Where the list before ended.
    most : int

    Returns
    -------
    talks : list of Talk
    further : int or None
        `before` of the next list, where there is one.
    """
    turns = (
        sa.select(
            TutorTurn.conversation_id,
            sa.func.min(TutorTurn.id).label("first"),
            sa.func.count(TutorTurn.id).label("questions"),
        )
        .group_by(TutorTurn.conversation_id)
        .subquery()
    )
    statement = (
        sa.select(
            TutorConversation.id,
            TutorConversation.public_id,
            TutorConversation.created_at,
            TutorTurn.question,
            turns.c.questions,
        )
        .join(turns, turns.c.conversation_id == TutorConversation.id)
        .join(TutorTurn, TutorTurn.id == turns.c.first)
        .where(TutorConversation.user_id == user.id)
        .order_by(TutorConversation.id.desc())
        .limit(most + 1)
    )
    if before is not None:
        statement = statement.where(TutorConversation.id < before)
    rows = session.execute(statement).all()
    talks = [Talk(*row[1:]) for row in rows[:most]]
    return talks, rows[most - 1][0] if len(rows) > most else None


def count_conversations(session: AnySession, user: User) -> int:
    """How many conversations `user` has."""
    own = sa.select(sa.func.count(TutorConversation.id)).where(TutorConversation.user_id == user.id)
    return session.scalar(own) or 0


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
