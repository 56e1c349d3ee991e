"""Accounts: register, sign in, approve, change of role. Passwords never leave this module."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from email_validator import EmailNotValidError, validate_email
from passlib.hash import pbkdf2_sha256

from utils.errors import Conflict, InvalidInput, NotAllowed, NotFound
from utils.records import audit
from utils.records.database import AnySession, utc_now
from utils.records.users import ROLES, SignIn, User
from utils.settings import Settings

LEAST_PASSWORD_CHARACTERS: Final = 12
MOST_PASSWORD_CHARACTERS: Final = 256  # hashing a megabyte for a stranger would be a gift
_REFUSED: Final = "The e-mail address or the password is not right."


@dataclass(frozen=True)
class Registration:
    """What became of a registration; `user` is None where the address was known already."""

    user: User | None
    state: str


def _hasher(rounds: int) -> Any:
    return pbkdf2_sha256.using(rounds=rounds)  # type: ignore[no-untyped-call]


def hash_password(password: str, rounds: int) -> str:
    """Hash a password with PBKDF2-SHA256 and a salt of its own."""
    return str(_hasher(rounds).hash(_normal(password)))


def _matches(password: str, password_hash: str) -> bool:
    return bool(pbkdf2_sha256.verify(_normal(password), password_hash))


@lru_cache(maxsize=4)
def _decoy(rounds: int) -> str:
    # Compared with when the address is unknown, so that the answer takes as long as for a known.
    return hash_password("no password has this hash", rounds)


def _normal(password: str) -> str:
    # The same letters typed on another keyboard may come composed differently (NIST 800-63B).
    return unicodedata.normalize("NFKC", password)[: MOST_PASSWORD_CHARACTERS * 4]


def check_password(password: str, email: str) -> None:
    """Pass a password that may be used.

    Raises
    ------
    InvalidInput
        If it is too short, too long, all one character, or the e-mail address.
    """
    length = len(password)
    if length < LEAST_PASSWORD_CHARACTERS:
        raise InvalidInput(
            f"A password of at least {LEAST_PASSWORD_CHARACTERS} characters was expected; "
            f"this one has {length}.",
            code="password_short",
        )
    if length > MOST_PASSWORD_CHARACTERS:
        raise InvalidInput(
            f"A password of at most {MOST_PASSWORD_CHARACTERS} characters was expected.",
            code="password_long",
        )
    plain = password.casefold()
    if plain == email.casefold() or plain == email.casefold().partition("@")[0]:
        raise InvalidInput("The password must not be the e-mail address.", code="password_is_email")
    if len(set(plain)) < 4:
        raise InvalidInput(
            "The password must not repeat so few characters.", code="password_repeats"
        )


def normal_email(email: str) -> str:
    """Give an e-mail address in the one form in which it is kept.

    Raises
    ------
    InvalidInput
        If it cannot be an address.
    """
    try:
        # Addresses of closed networks (name@lab.local) are as good as any other.
        checked = validate_email(
            email.strip(), check_deliverability=False, globally_deliverable=False
        )
    except EmailNotValidError:
        raise InvalidInput(
            "An e-mail address such as name@hospital.org was expected.", code="email"
        ) from None
    return checked.normalized.lower()


def normal_name(name: str) -> str:
    """Give a person's name without stray spaces and control characters.

    Raises
    ------
    InvalidInput
        If nothing is left, or more than 120 characters.
    """
    readable = "".join(" " if unicodedata.category(c) == "Cc" else c for c in name)
    readable = " ".join(readable.split())
    if not 1 <= len(readable) <= 120:
        raise InvalidInput("A name of 1 to 120 characters was expected.", code="name")
    return readable


def register(
    session: AnySession, settings: Settings, *, name: str, email: str, password: str
) -> Registration:
    """Make an account; the very first one becomes an active administrator.

    An address that is known already gets the same answer as a new one, after the same work.

    Raises
    ------
    InvalidInput
        If name, address or password are not as expected.
    NotAllowed
        If registration is closed.
    """
    name, email = normal_name(name), normal_email(email)
    check_password(password, email)
    password_hash = hash_password(password, settings.password_rounds)
    audit.lock(session)  # two first accounts at once: one of them is the second
    first = is_first(session)
    if not first and settings.registration == "closed":
        session.rollback()
        raise NotAllowed(
            "New accounts are made by the administrator here.", code="registration_closed"
        )
    role = "administrator" if first else "trainee"
    state = "active" if first or settings.registration == "open" else "pending"
    known = find_by_email(session, email)
    if known is not None:
        _record(session, known, known, "account.register_again")
        session.commit()
        return Registration(None, state)
    user = _add(session, name, email, password_hash, role, state)
    _record(session, user, user, "account.register", role=role, state=state)
    session.commit()
    return Registration(user, state)


def create(
    session: AnySession, settings: Settings, *, name: str, email: str, password: str, role: str
) -> User:
    """Make an active account of any role, as the operator at the command line.

    Raises
    ------
    InvalidInput, Conflict
        If a value is not as expected; if the address has an account.
    """
    name, email = normal_name(name), normal_email(email)
    check_password(password, email)
    _check_role(role)
    password_hash = hash_password(password, settings.password_rounds)
    audit.lock(session)
    if find_by_email(session, email) is not None:
        session.rollback()
        raise Conflict("There is an account with this e-mail address already.", code="email_known")
    user = _add(session, name, email, password_hash, role, "active")
    _record(session, None, user, "account.create", role=role, state="active")
    session.commit()
    return user


def _add(
    session: AnySession, name: str, email: str, password_hash: str, role: str, state: str
) -> User:
    user = User(name=name, email=email, password_hash=password_hash, role=role, state=state)
    session.add(user)
    session.flush()
    return user


def authenticate(session: AnySession, settings: Settings, *, email: str, password: str) -> User:
    """Check e-mail address and password; renew the hash where the rounds have been raised.

    Raises
    ------
    NotAllowed
        With one sentence for every mismatch. Only who knows the password hears that the account
        waits for approval or is disabled.
    """
    try:
        user = find_by_email(session, normal_email(email))
    except InvalidInput:
        user = None
    expected = user.password_hash if user else _decoy(settings.password_rounds)
    if not _matches(password, expected) or user is None:
        audit.append(
            session,
            action="account.sign_in_failed",
            object_type="user",
            object_id=user.public_id if user else "unknown",
        )
        session.commit()
        raise NotAllowed(_REFUSED, code="sign_in")
    if user.state != "active":
        _record(session, user, user, "account.sign_in_refused", state=user.state)
        session.commit()
        raise _not_active(user.state)
    if _hasher(settings.password_rounds).needs_update(user.password_hash):
        user.password_hash = hash_password(password, settings.password_rounds)
    _record(session, user, user, "account.sign_in")
    session.commit()
    return user


def _not_active(state: str) -> NotAllowed:
    if state == "pending":
        return NotAllowed(
            "This account waits for an administrator to approve it.", code="account_pending"
        )
    return NotAllowed(
        "This account is disabled. An administrator can enable it.", code="account_disabled"
    )


def open_session(session: AnySession, user: User) -> str:
    """Note a signing in and give its opaque identifier for the browser's cookie."""
    sign_in = SignIn(user_id=user.id, epoch=user.session_epoch)
    session.add(sign_in)
    session.commit()
    return sign_in.public_id


def find_session(session: AnySession, settings: Settings, sign_in_id: str) -> User | None:
    """Give the person of a signing in that still holds.

    It ends by signing out, after ``session_hours``, and when the person's epoch was raised (a
    changed password, a disabled account).
    """
    oldest = utc_now() - timedelta(hours=settings.session_hours)
    return session.scalar(
        sa.select(User)
        .join(SignIn, SignIn.user_id == User.id)
        .where(
            SignIn.public_id == sign_in_id,
            SignIn.ended_at.is_(None),
            SignIn.started_at > oldest,
            SignIn.epoch == User.session_epoch,
            User.state == "active",
        )
    )


def sign_out(session: AnySession, user: User, sign_in_id: str) -> None:
    """End one session of `user`."""
    session.execute(
        sa.update(SignIn)
        .where(SignIn.public_id == sign_in_id, SignIn.user_id == user.id)
        .values(ended_at=utc_now())
    )
    _record(session, user, user, "account.sign_out")
    session.commit()


def change_name(session: AnySession, user: User, name: str) -> None:
    """Change the name that stands on pages and reports from now on."""
    user.name = normal_name(name)
    _record(session, user, user, "account.name")
    session.commit()


def change_password(
    session: AnySession, settings: Settings, user: User, *, current: str, new: str
) -> None:
    """Change the password and end every session of the account.

    Raises
    ------
    NotAllowed
        If `current` is not the password.
    InvalidInput
        If `new` may not be used.
    """
    if not _matches(current, user.password_hash):
        _record(session, user, user, "account.password_failed")
        session.commit()
        raise NotAllowed("The current password is not right.", code="current_password")
    check_password(new, user.email)
    if _normal(new) == _normal(current):
        raise InvalidInput("The new password must differ from the old.", code="password_same")
    user.password_hash = hash_password(new, settings.password_rounds)
    user.session_epoch += 1
    _record(session, user, user, "account.password")
    session.commit()


def approve(session: AnySession, actor: User | None, user: User) -> None:
    """Let a waiting person in.

    Raises
    ------
    Conflict
        If the account does not wait.
    """
    _move(session, actor, user, "account.approve", {"pending"}, "active")


def disable(session: AnySession, actor: User | None, user: User) -> None:
    """Keep a person out and end their sessions at once.

    Raises
    ------
    Conflict
        If the account is disabled already, or is the last active administrator's.
    """
    _move(session, actor, user, "account.disable", {"pending", "active"}, "disabled")


def enable(session: AnySession, actor: User | None, user: User) -> None:
    """Let a disabled person in again."""
    _move(session, actor, user, "account.enable", {"disabled"}, "active")


def _move(
    session: AnySession,
    actor: User | None,
    user: User,
    action: str,
    states: set[str],
    new_state: str,
) -> None:
    audit.lock(session)
    session.refresh(user)
    if user.state not in states:
        session.rollback()
        raise Conflict(f"This account is {user.state}; nothing was changed.", code="state")
    if new_state != "active":
        _keep_an_administrator(session, user)
    old_state, user.state = user.state, new_state
    if new_state == "disabled":
        user.session_epoch += 1
    _record(session, actor, user, action, old=old_state, new=new_state)
    session.commit()


def set_role(session: AnySession, actor: User | None, user: User, role: str) -> None:
    """Give a person another role.

    Raises
    ------
    InvalidInput
        If there is no such role.
    Conflict
        If the last active administrator would lose theirs.
    """
    _check_role(role)
    audit.lock(session)
    session.refresh(user)
    if role == user.role:
        session.rollback()
        return
    if role != "administrator":
        _keep_an_administrator(session, user)
    old_role, user.role = user.role, role
    _record(session, actor, user, "account.role", old=old_role, new=role)
    session.commit()


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InvalidInput(f"A role was expected: {', '.join(ROLES)}.", code="role")


def _keep_an_administrator(session: AnySession, user: User) -> None:
    others = sa.select(User.id).where(
        User.role == "administrator", User.state == "active", User.id != user.id
    )
    last = user.role == "administrator" and user.state == "active"
    if last and session.scalar(others.limit(1)) is None:
        session.rollback()
        raise Conflict(
            "This is the last active administrator; make another one first.",
            code="last_administrator",
        )


def is_first(session: AnySession) -> bool:
    """Whether nobody has an account yet: the first one becomes administrator."""
    return session.scalar(sa.select(User.id).limit(1)) is None


def find_by_email(session: AnySession, email: str) -> User | None:
    """Find the account of an address in its kept form."""
    return session.scalar(sa.select(User).where(User.email == email))


def find_by_public_id(session: AnySession, public_id: str) -> User:
    """Find an account by its opaque identifier.

    Raises
    ------
    NotFound
        If there is none.
    """
    user = session.scalar(sa.select(User).where(User.public_id == public_id))
    if user is None:
        raise NotFound("There is no such account.")
    return user


def _record(
    session: AnySession, actor: User | None, user: User, action: str, **details: str
) -> None:
    session.flush()
    audit.append(
        session,
        action=action,
        object_type="user",
        object_id=user.public_id,
        actor_id=actor.id if actor else None,
        details=details,
    )
