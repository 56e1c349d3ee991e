"""Who may do what: every role at one's own work and at another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import Auth
from utils.errors import NotAllowed, NotFound
from utils.records import Analysis, Case, User, db
from utils.records.users import ROLES
from utils.workflow import access

# role: view own, other's; correct own, other's; report own, other's; administer
TABLE = {
    "administrator": (True, True, True, True, True, True, True),
    "pathologist": (True, True, True, True, True, True, False),
    "technician": (True, True, True, False, True, False, False),
    "trainee": (True, False, True, False, True, False, False),
}


def _person(role: str, state: str = "active") -> User:
    return User(id=1, role=role, state=state)


def test_every_role_is_in_the_table() -> None:
    assert set(TABLE) == set(ROLES) == set(access.RIGHTS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", [Analysis, Case])
def test_the_table(role: str, kind: type[Analysis] | type[Case]) -> None:
    user, own, other = _person(role), kind(owner_id=1), kind(owner_id=2)
    checks = (access.can_view, access.can_correct, access.can_report)
    may = tuple(check(user, owned) for check in checks for owned in (own, other))
    assert (*may, access.can_administer(user)) == TABLE[role]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", ["pending", "disabled"])
def test_who_is_not_active_may_nothing(role: str, state: str) -> None:
    user, own = _person(role, state), Analysis(owner_id=1)
    assert not access.can_view(user, own)
    assert not access.can_correct(user, own)
    assert not access.can_report(user, own)
    assert not access.can_administer(user)


def test_what_may_not_be_seen_does_not_exist() -> None:
    trainee, technician = _person("trainee"), _person("technician")
    other = Analysis(owner_id=2)
    with pytest.raises(NotFound) as foreign:
        access.require_view(trainee, other)
    with pytest.raises(NotFound) as missing:
        access.require_view(trainee, None)
    assert str(foreign.value) == str(missing.value)
    for require in (access.require_correct, access.require_report):
        with pytest.raises(NotFound):
            require(trainee, other)
        with pytest.raises(NotAllowed):
            require(technician, other)
        require(technician, Analysis(owner_id=1))
    with pytest.raises(NotAllowed):
        access.require_administer(technician)
    access.require_administer(_person("administrator"))


@pytest.mark.parametrize("role", ROLES)
def test_lists_show_what_may_be_viewed(
    app: Flask, auth: Auth, add_analysis: Callable[..., str], role: str
) -> None:
    auth.enter()
    person = auth.as_role(role)
    own, other = add_analysis(person.user_id), add_analysis(auth.user_id)
    with app.app_context():
        user = db.session.get_one(User, person.user_id)
        listed = set(db.session.scalars(access.only_visible(sa.select(Analysis.public_id), user)))
        assert listed == ({own, other} if TABLE[role][1] else {own})
        user.state = "disabled"
        assert not db.session.scalars(access.only_visible(sa.select(Analysis.id), user)).all()
        db.session.rollback()
