"""The laboratory's pages on synthetic fields: train a generator, watch it, judge it, sample it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from flask import (
    Blueprint,
    Response,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from flask.typing import ResponseReturnValue

from utils.errors import InvalidInput, NotAllowed, NotFound
from utils.networks.gan.presets import DEFAULT, PRESETS
from utils.records import Job, SyntheticRun, SyntheticSample, db
from utils.settings import Settings
from utils.web.services import services
from utils.web.views import me
from utils.workflow import access, synthetic
from utils.workflow.synthetic_evidence import evidence_of

blueprint = Blueprint("synthetic", __name__, url_prefix="/synthetic")

# Width and height of the curves, in units of the drawing.
CURVE: Final = (640, 160)
_STATES: Final = {
    None: "Not started",
    "queued": "Waits for the worker",
    "running": "Running",
    "done": "Done",
    "failed": "Ended with an error",
    "cancelled": "Paused",
}
_SHOWN_SAMPLES: Final = 12


@blueprint.before_request
def only_the_laboratory() -> None:
    """Refuse whoever has nothing to do with networks before any view runs."""
    if not access.can_see_laboratory(me()):
        raise NotAllowed("Your role does not allow the laboratory's pages.")


def _settings() -> Settings:
    return services().settings


@blueprint.get("")
def index() -> str:
    """List the trainings, and offer a new one."""
    rows = []
    for run in synthetic.runs(db.session()):
        log = synthetic.rows_of(synthetic.folder_of(run, _settings()))
        rows.append({"run": run, "epochs": len(log), "state": _state(run.train_job)})
    sources = synthetic.sources(_settings())
    sets = [{"source": source, "rows": _balance(source.counts)} for source in sources]
    return render_template(
        "synthetic/index.html",
        rows=rows,
        sets=sets,
        chosen=request.args.get("set", sources[0].name if sources else ""),
        presets=PRESETS.values(),
        default=DEFAULT,
        may_train=access.can_administer(me()),
        datasets_dir=_settings().datasets_dir,
    )


def _balance(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Each class before and after: what there is, and what brings it up to the largest."""
    most = max(counts.values())
    return [
        {"code": code, "real": n, "added": most - n, "real_share": n / most}
        for code, n in counts.items()
    ]


@blueprint.post("")
def start() -> ResponseReturnValue:
    """Queue a training."""
    run = synthetic.start(
        db.session(),
        me(),
        _settings(),
        source=request.form.get("source", ""),
        codes=request.form.getlist("code"),
        preset=request.form.get("preset", ""),
        epochs=_number("epochs"),
        seed=_number("seed") or 1,
    )
    db.session.commit()
    return redirect(url_for(".show", public_id=run.public_id), 303)


def _number(name: str) -> int | None:
    text = request.form.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InvalidInput(f"Expected a whole number for {name}.")
    return int(text)


@blueprint.get("/<public_id>")
def show(public_id: str) -> str:
    """Show one training: how far it is, its curves, its pictures, the verdict."""
    run = synthetic.find(db.session(), public_id)
    folder = synthetic.folder_of(run, _settings())
    log = synthetic.rows_of(folder)
    return render_template(
        "synthetic/show.html",
        run=run,
        preset=PRESETS.get(run.preset),
        state=_state(run.train_job),
        judging=_state(run.evaluate_job),
        log=log,
        curves=_curves(log),
        curve=CURVE,
        sheet=_sheet_url(run, log),
        evidence=evidence_of(folder),
        ready=synthetic.has_generator(folder) and _is(run.train_job, "done"),
        samples=[
            {
                "drawn": drawn,
                "state": _state(drawn.job),
                "pictures": _sample_files(run, drawn)[:_SHOWN_SAMPLES]
                if _is(drawn.job, "done")
                else [],
            }
            for drawn in reversed(run.samples)
        ],
        code_options=[(code, code) for code in run.codes],
        busy=synthetic.busy(db.session(), run),
        may_train=access.can_administer(me()),
        most_samples=synthetic.MOST_SAMPLES,
    )


def _is(job: Job | None, state: str) -> bool:
    return job is not None and job.state == state


def _state(job: Job | None) -> dict[str, Any]:
    """A job as the page shows it."""
    state = job.state if job else None
    return {
        "state": state,
        "words": _STATES[state],
        "active": state in synthetic.ACTIVE,
        "done": job.done if job else 0,
        "total": job.total if job else 0,
        "message": job.message if job else "",
    }


@blueprint.get("/<public_id>/progress")
def progress(public_id: str) -> Response:
    """How far a training is, as JSON for the page that watches it."""
    run = synthetic.find(db.session(), public_id)
    log = synthetic.rows_of(synthetic.folder_of(run, _settings()))
    watched = [run.train_job, run.evaluate_job, *(drawn.job for drawn in run.samples)]
    return jsonify(
        **_state(run.train_job),
        epochs=len(log),
        curves=_curves(log),
        last=log[-1] if log else None,
        sheet=_sheet_url(run, log),
        waiting=any(job is not None and job.state in synthetic.ACTIVE for job in watched),
        # What else changes is drawn by the server: the page is fetched again when this changes.
        mark="-".join(f"{job.id}:{job.state}" for job in watched if job is not None),
    )


def _curves(log: list[dict[str, Any]]) -> dict[str, str]:
    """Losses and the distance over the epochs, as points of polylines."""
    kernel = [(row["epoch"], max(row["kernel"], 1e-3)) for row in log if "kernel" in row]
    losses = {
        name: [(row["epoch"], row[name]) for row in log] for name in ("generator", "discriminator")
    }
    low = min((v for points in losses.values() for _, v in points), default=0.0)
    high = max((v for points in losses.values() for _, v in points), default=1.0)
    last = log[-1]["epoch"] if log else 1
    drawn = {name: _points(points, last, low, high) for name, points in losses.items()}
    most = max((v for _, v in kernel), default=1.0)
    return drawn | {"kernel": _points(kernel, last, 0.0, most)}


def _points(points: list[tuple[int, float]], last: int, low: float, high: float) -> str:
    width, height = CURVE
    across, span = max(last - 1, 1), (high - low) or 1.0
    return " ".join(
        f"{(epoch - 1) / across * width:.1f},{height - (value - low) / span * height:.1f}"
        for epoch, value in points
    )


def _sheet_url(run: SyntheticRun, log: list[dict[str, Any]]) -> str | None:
    return url_for(".sheet", public_id=run.public_id, epoch=log[-1]["epoch"]) if log else None


@blueprint.get("/<public_id>/sheets/<int:epoch>.png")
def sheet(public_id: str, epoch: int) -> Response:
    """Send the pictures that were drawn at the end of an epoch."""
    run = synthetic.find(db.session(), public_id)
    folder = synthetic.folder_of(run, _settings())
    row = next((r for r in synthetic.rows_of(folder) if r["epoch"] == epoch), None)
    if row is None:
        raise NotFound("There is no such epoch.")
    return _picture(folder / "sheets" / str(row["sheet"]))


@blueprint.get("/<public_id>/nearest.png")
def nearest(public_id: str) -> Response:
    """Send the synthetic pictures that lie nearest to a training picture, and those."""
    run = synthetic.find(db.session(), public_id)
    return _picture(synthetic.folder_of(run, _settings()) / "nearest.png")


def _picture(path: Path) -> Response:
    if not path.is_file():
        raise NotFound("There is no such picture.")
    return send_file(path, mimetype="image/png", max_age=3600)


@blueprint.get("/<public_id>/log.txt")
def log(public_id: str) -> Response:
    """Send what the work said, and the figures of each epoch."""
    run = synthetic.find(db.session(), public_id)
    folder = synthetic.folder_of(run, _settings())
    rows = "".join(json.dumps(row) + "\n" for row in synthetic.rows_of(folder))
    words = folder / synthetic.WORDS
    said = words.read_text(encoding="utf-8", errors="replace") if words.is_file() else ""
    answer = Response(f"{rows}\n{said}", mimetype="text/plain")
    name = f"synthetic-{run.public_id}.txt"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@blueprint.post("/<public_id>/<any(pause, resume, evaluate, delete):step>")
def change(public_id: str, step: str) -> ResponseReturnValue:
    """Pause, go on, judge or delete."""
    session, user = db.session(), me()
    run = synthetic.find(session, public_id)
    if step == "delete":
        synthetic.delete(session, user, run, _settings())
        flash("The training and its pictures are deleted.", "success")
        return redirect(url_for(".index"), 303)
    if step == "pause":
        synthetic.pause(session, user, run)
    elif step == "resume":
        synthetic.go_on(session, user, run, epochs=_number("epochs"))
    else:
        synthetic.evaluate(session, user, run)
    session.commit()
    return redirect(url_for(".show", public_id=public_id), 303)


@blueprint.post("/<public_id>/samples")
def draw(public_id: str) -> ResponseReturnValue:
    """Queue the drawing of pictures."""
    run = synthetic.find(db.session(), public_id)
    synthetic.sample(
        db.session(),
        me(),
        run,
        code=request.form.get("code", ""),
        count=_number("count") or 0,
        seed=_number("seed") or 2024,
    )
    db.session.commit()
    return redirect(url_for(".show", public_id=public_id) + "#samples", 303)


@blueprint.post("/<public_id>/samples/<sample_id>/again")
def draw_again(public_id: str, sample_id: str) -> ResponseReturnValue:
    """Go on with a drawing that ended before its time."""
    run = synthetic.find(db.session(), public_id)
    drawn = next((s for s in run.samples if s.public_id == sample_id), None)
    if drawn is None:
        raise NotFound("There is no such drawing.")
    synthetic.draw_again(db.session(), me(), drawn)
    db.session.commit()
    return redirect(url_for(".show", public_id=public_id) + "#samples", 303)


@blueprint.get("/<public_id>/samples/<sample_id>/<int:number>.png")
def sample(public_id: str, sample_id: str, number: int) -> Response:
    """Send one drawn picture."""
    run, drawn = _drawn(public_id, sample_id)
    files = _sample_files(run, drawn)
    if number >= len(files):
        raise NotFound("There is no such picture.")
    return _picture(files[number])


@blueprint.get("/<public_id>/samples/<sample_id>.zip")
def download(public_id: str, sample_id: str) -> Response:
    """Send a drawing's pictures in one file; each says of itself that it is synthetic."""
    run, drawn = _drawn(public_id, sample_id)
    answer = Response(_zipped(_sample_files(run, drawn)), mimetype="application/zip")
    name = f"synthetic-{drawn.code}-{drawn.public_id}.zip"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _drawn(public_id: str, sample_id: str) -> tuple[SyntheticRun, SyntheticSample]:
    run = synthetic.find(db.session(), public_id)
    for drawn in synthetic.finished_samples(run):
        if drawn.public_id == sample_id:
            return run, drawn
    raise NotFound("There is no such drawing, or it is not complete.")


def _sample_files(run: SyntheticRun, drawn: SyntheticSample) -> list[Path]:
    return sorted(synthetic.samples_dir(run, drawn, _settings()).glob("*.png"))


class _Pipe(io.RawIOBase):
    """What is written is taken away again: a zip file needs no place of its own."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, more: Any) -> int:
        self.content += bytes(more)
        return len(more)

    def take(self) -> bytes:
        content, self.content = self.content, b""
        return content


def _zipped(files: list[Path]) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            archive.write(path, path.name)
            yield pipe.take()
    yield pipe.take()
