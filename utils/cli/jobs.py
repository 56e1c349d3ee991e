"""``flask jobs``: the worker, and what waits for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import click
from flask import current_app

from utils.cli.command import new_group, print_json
from utils.records.database import db
from utils.records.jobs import JOB_STATES, Job
from utils.workflow import jobs

group = new_group("jobs", "Do queued work, list it, cancel it.")


@group.command("work")
def work() -> None:
    """Do queued jobs until this process is told to stop."""
    # The worker's libraries are not for the processes that serve.
    from utils.jobs import worker

    worker.work(cast("Any", current_app)._get_current_object())


@group.command("list")
@click.option("--state", type=click.Choice(JOB_STATES), help="Only jobs in this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(state: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    found = jobs.newest(db.session, limit=limit, state=state)
    if as_json:
        print_json({"jobs": [_described(job) for job in found]})
        return
    for job in found:
        steps = f"{job.done}/{job.total}" if job.total else ""
        words = (job.public_id, job.kind, job.state, steps, job.message)
        click.echo("  ".join(word for word in words if word))
    if not found:
        click.echo("There are no jobs.")


@group.command("cancel")
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cancel(job_id: str, as_json: bool) -> None:
    """Cancel a job that waits or runs."""
    job = jobs.find(db.session, job_id)
    jobs.cancel(db.session, job)
    if as_json:
        print_json(_described(job))
    else:
        click.echo("The job is cancelled.")


def _described(job: Job) -> dict[str, Any]:
    return {
        "id": job.public_id,
        "kind": job.kind,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "message": job.message,
        "error_code": job.error_code,
        "attempts": job.attempts,
        "worker": job.worker,
        "created_at": _text(job.created_at),
        "started_at": _text(job.started_at),
        "finished_at": _text(job.finished_at),
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
