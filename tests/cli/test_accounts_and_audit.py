"""``flask user`` and ``flask audit``: one sentence, the right code, JSON alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.conftest import PASSWORD, Auth
from utils.records import User, db
from utils.settings import PROJECT_ROOT

CREATE = ["user", "create", "ada@example.org", "--name", "Ada Lovelace"]


def _user(app: Flask) -> User:
    with app.app_context():
        return db.session.scalars(sa.select(User)).one()


def test_an_account_is_made(app: Flask, runner: FlaskCliRunner, auth: Auth) -> None:
    done = runner.invoke(args=[*CREATE, "--role", "pathologist"], input=PASSWORD + "\n")
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output
    assert (_user(app).role, _user(app).state) == ("pathologist", "active")
    assert auth.login().status_code == 303


def test_an_account_is_approved_and_given_a_role(
    app: Flask, runner: FlaskCliRunner, auth: Auth
) -> None:
    runner.invoke(args=[*CREATE, "--role", "administrator"], input=PASSWORD + "\n")
    other = Auth(app, app.test_client(), "grace@example.org")
    other.register()
    done = runner.invoke(args=["user", "approve", "Grace@Example.org", "--json"])
    assert json.loads(done.stdout)["state"] == "active"
    done = runner.invoke(args=["user", "role", "grace@example.org", "technician", "--json"])
    assert json.loads(done.stdout)["role"] == "technician"
    assert other.login().status_code == 303
    again = runner.invoke(args=["user", "approve", "grace@example.org"])
    assert again.exit_code == 1
    assert again.stderr == "This account is active; nothing was changed.\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["user", "create"], 2),
        (["user", "create", "no address", "--name", "A"], 2),
        ([*CREATE, "--role", "root"], 2),
        ([*CREATE, "--nonsense"], 2),
        (["user", "role", "ada@example.org", "root"], 2),
        (["user", "role", "ada@example.org"], 2),
        (["user", "approve", "nobody@example.org"], 1),
        (["user", "nonsense"], 2),
        (["audit", "nonsense"], 2),
        (["audit", "verify", "--nonsense"], 2),
        (["audit", "verify", "superfluous"], 2),
    ],
)
def test_a_wrong_argument_ends_with_one_sentence(
    runner: FlaskCliRunner, arguments: list[str], exit_code: int
) -> None:
    done = runner.invoke(args=arguments, input=PASSWORD + "\n")
    assert done.exit_code == exit_code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith((".", "?"))


def test_a_short_password_is_refused(app: Flask, runner: FlaskCliRunner) -> None:
    done = runner.invoke(args=CREATE, input="short\n")
    assert done.exit_code == 2
    assert "at least 12 characters" in done.stderr
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(User.id))) == 0


def test_a_whole_trail(runner: FlaskCliRunner, auth: Auth) -> None:
    auth.enter()
    done = runner.invoke(args=["audit", "verify"])
    assert (done.exit_code, done.stdout) == (0, "The audit trail is whole: 2 entries.\n")
    done = runner.invoke(args=["audit", "verify", "--json"])
    assert json.loads(done.stdout) == {"ok": True, "entries": 2, "breaks": []}


def test_a_broken_trail(app: Flask, runner: FlaskCliRunner, auth: Auth) -> None:
    auth.enter()
    with app.app_context():
        db.session.execute(sa.text("DROP TRIGGER audit_entries_no_update"))
        db.session.execute(sa.text("UPDATE audit_entries SET action = 'x' WHERE id = 1"))
        db.session.commit()
    done = runner.invoke(args=["audit", "verify"])
    assert done.exit_code == 1
    assert "Entry 1 was changed" in done.stdout
    done = runner.invoke(args=["audit", "verify", "--json"])
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert (answer["breaks"][0]["number"], answer["breaks"][0]["kind"]) == (1, "changed")


def test_flask_finds_the_program_by_itself(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FLASK_APP"}
    environment["MARROW_FIND_INSTANCE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "flask", "audit", "verify", "--json"],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"ok": True, "entries": 0, "breaks": []}
    assert done.stderr == ""
