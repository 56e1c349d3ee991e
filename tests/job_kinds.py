"""Kinds of work for the tests, and a real worker that knows them.

The program registers kinds by importing its own modules and in no other way; a worker that knows
these is `command`: a process of its own that imports this module first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from utils.errors import DatabaseBusy, InvalidInput
from utils.records import audit
from utils.records.database import AnySession
from utils.settings import Settings
from utils.workflow.jobs import JobContext, Turn, handles

EFFECT = "test.effect"


def runs_file(instance_dir: Path) -> Path:
    """Where each start of a handler leaves a line: kind, number, attempt, process."""
    return instance_dir / "runs.txt"


def go_file(instance_dir: Path) -> Path:
    """What slow work waits for."""
    return instance_dir / "go"


def _note(context: JobContext) -> None:
    line = f"{context.turn.kind} {context.parameters.get('number', 0)} {context.turn.attempt}"
    with runs_file(context.settings.instance_dir).open("a", encoding="ascii") as sink:
        sink.write(f"{line} {os.getpid()}\n")


def leave_effect(session: AnySession, turn: Turn) -> None:
    """Write and not commit: the entry is kept together with the job's end, or not at all."""
    audit.append(session, action=EFFECT, object_type="job", object_id=turn.public_id)


def _leave_effect(context: JobContext) -> None:
    leave_effect(context.session, context.turn)


@handles("test.quick")
def quick(context: JobContext) -> None:
    """Leave the effect."""
    _note(context)
    _leave_effect(context)


@handles("test.slow")
def slow(context: JobContext) -> None:
    """Report progress until the go is given, then leave the effect."""
    _note(context)
    for number in range(1, 2_000):
        context.progress(number, 2_000, f"step {number}")
        if go_file(context.settings.instance_dir).exists():
            break
        time.sleep(0.02)
    _leave_effect(context)


@handles("test.deaf")
def deaf(context: JobContext) -> None:
    """Take no notice of anything for half a minute."""
    _note(context)
    time.sleep(30)
    _leave_effect(context)


@handles("test.deadly")
def deadly(context: JobContext) -> None:
    """End the whole process, as a crash of a library would."""
    _note(context)
    _leave_effect(context)
    context.session.flush()
    os.kill(os.getpid(), signal.SIGKILL)


@handles("test.fault")
def fault(context: JobContext) -> None:
    """Fail with words that must not be shown to anybody."""
    _leave_effect(context)
    raise RuntimeError("Erika Mustermann")


@handles("test.refusal")
def refusal(context: JobContext) -> None:
    """Fail as the program foresees."""
    raise InvalidInput("A field of view was expected.", code="no_field")


@handles("test.busy")
def busy(context: JobContext) -> None:
    """Meet a busy database the first time."""
    _note(context)
    _leave_effect(context)
    if context.turn.attempt == 1:
        raise DatabaseBusy("The database is busy.")


def command(settings: Settings, **overrides: object) -> list[str]:
    """Give the command line of a worker on the same instance."""
    start = "import sys; from tests.job_kinds import main; main(*sys.argv[1:])"
    folders = [str(settings.instance_dir), str(settings.models_dir)]
    return [sys.executable, "-c", start, *folders, json.dumps(overrides)]


def main(instance_dir: str, models_dir: str, overrides: str) -> None:
    """Be a worker."""
    from app import create_app
    from tests.conftest import make_settings
    from utils.jobs.worker import work

    app = create_app(make_settings(Path(instance_dir), Path(models_dir), **json.loads(overrides)))
    work(app)
    loaded = sorted({"tensorflow", "keras", "torch", "sklearn"} & set(sys.modules))
    assert not loaded, loaded
