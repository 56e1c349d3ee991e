"""Who may do what: one table, and nothing decided anywhere else.

Whoever may not see a thing is told that it does not exist; whoever sees it and may not change it
is told that their role does not allow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa

from utils.errors import NotAllowed, NotFound
from utils.records.analyses import Analysis
from utils.records.cases import Case
from utils.records.users import User

Reach = Literal["all", "own"]


@dataclass(frozen=True)
class Rights:
    """What one role may reach: everybody's work or only one's own."""

    view: Reach
    correct: Reach
    report: Reach
    administer: bool = False
    laboratory: bool = False


RIGHTS: Final[dict[str, Rights]] = {
    "administrator": Rights(
        view="all", correct="all", report="all", administer=True, laboratory=True
    ),
    "pathologist": Rights(view="all", correct="all", report="all", laboratory=True),
    "technician": Rights(view="all", correct="own", report="own"),
    "trainee": Rights(view="own", correct="own", report="own"),
}
_MISSING: Final = "There is no such page here, or none that you may see."


def _reaches(user: User, reach: Reach, owned: Analysis | Case) -> bool:
    return user.is_active and (reach == "all" or owned.owner_id == user.id)


def can_view(user: User, owned: Analysis | Case) -> bool:
    """Whether `user` may see an analysis or a case."""
    return _reaches(user, RIGHTS[user.role].view, owned)


def can_correct(user: User, owned: Analysis | Case) -> bool:
    """Whether `user` may confirm or correct a label, or change what a case says."""
    return _reaches(user, RIGHTS[user.role].correct, owned)


def can_report(user: User, owned: Analysis | Case) -> bool:
    """Whether `user` may issue a report."""
    return _reaches(user, RIGHTS[user.role].report, owned)


def can_administer(user: User) -> bool:
    """Whether `user` may approve accounts, change roles and read the audit trail."""
    return user.is_active and RIGHTS[user.role].administer


def require_view(user: User, owned: Analysis | Case | None) -> None:
    """Pass, or say that there is no such thing.

    Raises
    ------
    NotFound
        If it is None or `user` may not see it: the two cannot be told apart.
    """
    if owned is None or not can_view(user, owned):
        raise NotFound(_MISSING)


def require_correct(user: User, owned: Analysis | Case | None) -> None:
    """Pass, or say why not.

    Raises
    ------
    NotFound
        If `user` may not even see it.
    NotAllowed
        If `user` may see it but not change it.
    """
    require_view(user, owned)
    if owned is not None and not can_correct(user, owned):
        raise NotAllowed("Your role lets you change your own analyses only.")


def require_report(user: User, owned: Analysis | Case | None) -> None:
    """Pass, or say why not; as `require_correct`, for issuing a report."""
    require_view(user, owned)
    if owned is not None and not can_report(user, owned):
        raise NotAllowed("Your role lets you issue reports of your own analyses only.")


def can_see_laboratory(user: User) -> bool:
    """Whether `user` may see trainings, their pictures and what they were found to be worth."""
    return user.is_active and RIGHTS[user.role].laboratory


def require_administer(user: User) -> None:
    """Pass, or say that this is for administrators.

    Raises
    ------
    NotAllowed
        If `user` is no administrator.
    """
    if not can_administer(user):
        raise NotAllowed("This page is for administrators.")


def only_visible(statement: sa.Select[Any], user: User) -> sa.Select[Any]:
    """Narrow a select over `Analysis` to what `user` may see."""
    if not user.is_active:
        return statement.where(sa.false())
    if RIGHTS[user.role].view == "all":
        return statement
    return statement.where(Analysis.owner_id == user.id)
