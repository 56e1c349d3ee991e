"""``flask user``: accounts from the command line."""

from __future__ import annotations

import sys

import click

from utils.cli.command import new_group, print_json
from utils.errors import InvalidInput, NotFound
from utils.records.database import db
from utils.records.users import ROLES, User
from utils.web.services import services
from utils.workflow import accounts

group = new_group("user", "Make accounts, approve them, give them roles.")


def _find(email: str) -> User:
    user = accounts.find_by_email(db.session, accounts.normal_email(email))
    if user is None:
        raise NotFound("There is no account with this e-mail address.")
    return user


def _tell(user: User, sentence: str, as_json: bool) -> None:
    if as_json:
        print_json({"id": user.public_id, "role": user.role, "state": user.state})
    else:
        click.echo(sentence)


def _ask_for_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@group.command("create")
@click.argument("email")
@click.option("--name", required=True, help="The person's name, as reports show it.")
@click.option("--role", default="trainee", show_default=True, type=click.Choice(ROLES))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(email: str, name: str, role: str, as_json: bool) -> None:
    """Make an active account. The password is asked for, or read from standard input."""
    accounts.normal_email(email)
    user = accounts.create(
        db.session,
        services().settings,
        name=name,
        email=email,
        password=_ask_for_password(),
        role=role,
    )
    _tell(user, f"The account is ready; its role is {user.role}.", as_json)


@group.command("approve")
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def approve(email: str, as_json: bool) -> None:
    """Let a waiting account in."""
    user = _find(email)
    accounts.approve(db.session, None, user)
    _tell(user, f"The account is active; its role is {user.role}.", as_json)


@group.command("role")
@click.argument("email")
@click.argument("role")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def set_role(email: str, role: str, as_json: bool) -> None:
    """Give an account another role."""
    if role not in ROLES:
        raise InvalidInput(f"A role was expected: {', '.join(ROLES)}.", code="role")
    user = _find(email)
    accounts.set_role(db.session, None, user, role)
    _tell(user, f"The role is now {user.role}.", as_json)
