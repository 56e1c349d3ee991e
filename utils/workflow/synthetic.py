"""Generators of synthetic fields: started, paused, gone on with, sampled, judged, deleted.

A run is a row and a folder. The folder's files are written by the process that works, each whole
or not at all; what happens to the run is decided by the row of its job alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from utils.errors import Conflict, InvalidInput, NotFound
from utils.networks.gan.generator import CARD, GRAPH
from utils.networks.gan.presets import PRESETS
from utils.records import Job, SyntheticRun, SyntheticSample, User
from utils.records.database import AnySession
from utils.settings import Settings
from utils.workflow import access, child, jobs
from utils.workflow.jobs import JobContext, handles

MOST_EPOCHS: Final = 2_000
MOST_SAMPLES: Final = 20_000
LOG: Final = "log.jsonl"
WORDS: Final = "words.log"
ACTIVE: Final = ("queued", "running")
_SUFFIXES: Final = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Source:
    """A labelled set that a generator may learn from.

    Attributes
    ----------
    name : str
        Of its folder.
    counts : dict of str to int
        Pictures of each class.
    """

    name: str
    counts: dict[str, int]


def sources(settings: Settings) -> list[Source]:
    """Sets of class folders in the folder of datasets."""
    found = []
    if not settings.datasets_dir.is_dir():
        return []
    for folder in sorted(p for p in settings.datasets_dir.iterdir() if p.is_dir()):
        counts = {
            sub.name: sum(p.suffix.lower() in _SUFFIXES for p in sub.iterdir())
            for sub in sorted(p for p in folder.iterdir() if p.is_dir())
        }
        counts = {code: n for code, n in counts.items() if n}
        # A folder of images beside a folder of notes is no set of classes.
        if len(counts) > 1:
            found.append(Source(folder.name, counts))
    return found


def folder_of(run: SyntheticRun, settings: Settings) -> Path:
    """Folder of a run's files."""
    return settings.synthetic_dir / run.public_id


def runs(session: AnySession) -> list[SyntheticRun]:
    """Every run, the newest first."""
    statement = (
        sa.select(SyntheticRun)
        .options(joinedload(SyntheticRun.train_job), joinedload(SyntheticRun.owner))
        .order_by(SyntheticRun.id.desc())
    )
    return list(session.scalars(statement))


def find(session: AnySession, public_id: str) -> SyntheticRun:
    """Find a run.

    Raises
    ------
    NotFound
        If there is none.
    """
    run = session.scalar(sa.select(SyntheticRun).where(SyntheticRun.public_id == public_id))
    if run is None:
        raise NotFound("There is no such training, or it was deleted.")
    return run


def start(
    session: AnySession,
    user: User,
    settings: Settings,
    *,
    source: str,
    codes: Sequence[str],
    preset: str,
    epochs: int | None,
    seed: int = 1,
) -> SyntheticRun:
    """Queue a training; the caller commits.

    Parameters
    ----------
    source : str
        Name of a set.
    codes : sequence of str
        Its classes.
    preset : str
    epochs : int, optional
        The preset's where absent.
    seed : int

    Raises
    ------
    NotAllowed
        If the person is no administrator.
    InvalidInput
        If the set, a class, the preset or a number is unknown.
    """
    access.require_administer(user)
    known = next((s for s in sources(settings) if s.name == source), None)
    if known is None:
        raise InvalidInput("Choose one of the sets that are listed.")
    chosen = [code for code in known.counts if code in set(codes)]
    if len(chosen) < 2 or set(codes) - set(known.counts):
        raise InvalidInput("Choose at least two of the set's classes.")
    if preset not in PRESETS:
        raise InvalidInput("Choose one of the presets that are listed.")
    epochs = PRESETS[preset].epochs if epochs is None else epochs
    if not 1 <= epochs <= MOST_EPOCHS:
        raise InvalidInput(f"Expected 1 to {MOST_EPOCHS:,} epochs.")
    run = SyntheticRun(
        owner=user, source=source, codes=chosen, preset=preset, epochs=epochs, seed=seed
    )
    session.add(run)
    session.flush()
    _queue_training(session, user, run)
    return run


def go_on(session: AnySession, user: User, run: SyntheticRun, *, epochs: int | None = None) -> None:
    """Queue a paused or failed training again, or one that is done for more epochs.

    Raises
    ------
    Conflict
        If it waits or runs, or has nothing left to do.
    """
    access.require_administer(user)
    if busy(session, run):
        raise Conflict("Something of this training still waits or runs.")
    if epochs is not None:
        if not run.epochs < epochs <= MOST_EPOCHS:
            raise InvalidInput(f"Expected more than {run.epochs} and at most {MOST_EPOCHS} epochs.")
        run.epochs = epochs
    elif run.train_job is not None and run.train_job.state == "done":
        raise Conflict("This training is done; give it more epochs to go on.")
    _queue_training(session, user, run)


def _queue_training(session: AnySession, user: User, run: SyntheticRun) -> None:
    run.train_job = jobs.enqueue(
        session,
        "gan.train",
        {"run": run.public_id},
        owner=user,
        dedupe_key=f"gan.train:{run.public_id}:{run.epochs}",
    )


def pause(session: AnySession, user: User, run: SyntheticRun) -> None:
    """End the training at its next step; its checkpoint stays.

    Raises
    ------
    Conflict
        If it neither waits nor runs.
    """
    access.require_administer(user)
    if run.train_job is None or run.train_job.state not in ACTIVE:
        raise Conflict("This training is not running.")
    jobs.cancel(session, run.train_job)


def sample(
    session: AnySession, user: User, run: SyntheticRun, *, code: str, count: int, seed: int
) -> SyntheticSample:
    """Queue the drawing of pictures; the caller commits.

    Raises
    ------
    InvalidInput, Conflict
    """
    access.require_administer(user)
    if code not in run.codes:
        raise InvalidInput("Choose one of the classes that the generator learned.")
    if not 1 <= count <= MOST_SAMPLES:
        raise InvalidInput(f"Expected 1 to {MOST_SAMPLES:,} pictures.")
    _require_finished(run)
    drawn = SyntheticSample(run=run, code=code, count=count, seed=seed)
    session.add(drawn)
    session.flush()
    _queue_drawing(session, user, drawn)
    return drawn


def draw_again(session: AnySession, user: User, drawn: SyntheticSample) -> None:
    """Go on with a drawing that ended before its time; the caller commits.

    Raises
    ------
    Conflict
        If it waits, runs or is complete.
    """
    access.require_administer(user)
    if drawn.job is not None and drawn.job.state in (*ACTIVE, "done"):
        raise Conflict("This drawing needs no further start.")
    _queue_drawing(session, user, drawn)


def _queue_drawing(session: AnySession, user: User, drawn: SyntheticSample) -> None:
    drawn.job = jobs.enqueue(
        session,
        "gan.sample",
        {"sample": drawn.public_id},
        owner=user,
        dedupe_key=f"gan.sample:{drawn.public_id}",
    )


def evaluate(session: AnySession, user: User, run: SyntheticRun) -> None:
    """Queue the measuring of a generator, and the gate; the caller commits.

    Raises
    ------
    Conflict
    """
    access.require_administer(user)
    _require_finished(run)
    if run.evaluate_job is not None and run.evaluate_job.state in ACTIVE:
        raise Conflict("This generator is being judged already.")
    run.evaluate_job = jobs.enqueue(session, "gan.evaluate", {"run": run.public_id}, owner=user)


def _require_finished(run: SyntheticRun) -> None:
    if run.train_job is None or run.train_job.state != "done":
        raise Conflict("The training has to end first.")


def busy(session: AnySession, run: SyntheticRun) -> bool:
    """Whether a job of the run waits or runs."""
    mine = [run.train_job_id, run.evaluate_job_id, *(s.job_id for s in run.samples)]
    ids = [i for i in mine if i is not None]
    statement = sa.select(sa.func.count()).where(Job.id.in_(ids), Job.state.in_(ACTIVE))
    return bool(session.scalar(statement))


def delete(session: AnySession, user: User, run: SyntheticRun, settings: Settings) -> None:
    """Delete a run: its row, which is committed, then its files.

    Raises
    ------
    Conflict
        If a job of it waits or runs.
    """
    access.require_administer(user)
    if busy(session, run):
        raise Conflict("Pause the training first.")
    folder = folder_of(run, settings)
    session.delete(run)
    session.commit()
    shutil.rmtree(folder, ignore_errors=True)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """A training's log, a row for each epoch that is done."""
    path = folder / LOG
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def has_generator(folder: Path) -> bool:
    """Whether a training has been finished."""
    return (folder / CARD).is_file() and (folder / GRAPH).is_file()


def samples_dir(run: SyntheticRun, drawn: SyntheticSample, settings: Settings) -> Path:
    """Folder of drawn pictures."""
    return folder_of(run, settings) / "samples" / drawn.public_id


def finished_samples(run: SyntheticRun) -> list[SyntheticSample]:
    """Drawings that are complete; half a drawing is not shown."""
    return [s for s in run.samples if s.job is not None and s.job.state == "done"]


@handles("gan.train", long=True)
def train_job(context: JobContext) -> None:
    """Train in a process of its own."""
    run = find(context.session, str(context.parameters["run"]))
    folder = folder_of(run, context.settings)
    classes = [part for code in run.codes for part in ("--class", code)]
    arguments = [
        "gan", "train", "--progress", "--data", str(context.settings.datasets_dir / run.source),
        "--run", str(folder), "--preset", run.preset, "--epochs", str(run.epochs),
        "--seed", str(run.seed), "--ruler", context.settings.field_network, *classes,
    ]  # fmt: skip
    context.session.rollback()  # no lock and no old view while it works
    child.run(arguments, context, folder / WORDS)


@handles("gan.sample", long=True)
def sample_job(context: JobContext) -> None:
    """Draw pictures in a process of its own."""
    wanted = str(context.parameters["sample"])
    statement = sa.select(SyntheticSample).where(SyntheticSample.public_id == wanted)
    drawn = context.session.scalar(statement)
    if drawn is None:
        raise NotFound("There is no such drawing, or it was deleted.")
    run = drawn.run
    folder = folder_of(run, context.settings)
    arguments = [
        "gan", "sample", str(folder), "--progress", "--class", drawn.code,
        "--count", str(drawn.count), "--seed", str(drawn.seed),
        "--to", str(samples_dir(run, drawn, context.settings)),
    ]  # fmt: skip
    context.session.rollback()
    child.run(arguments, context, folder / WORDS)


@handles("gan.evaluate", long=True)
def evaluate_job(context: JobContext) -> None:
    """Measure in a process of its own, and put the gate's question."""
    run = find(context.session, str(context.parameters["run"]))
    folder = folder_of(run, context.settings)
    arguments = [
        "gan", "evaluate", str(folder), "--progress", "--gate",
        "--data", str(context.settings.datasets_dir / run.source),
        "--ruler", context.settings.field_network,
    ]  # fmt: skip
    context.session.rollback()
    child.run(arguments, context, folder / WORDS)
