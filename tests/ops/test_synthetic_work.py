"""Generators trained by a real worker that is killed: what is done stays done, the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests import job_kinds
from tests.drawn_set import write_drawn_set
from tests.ops.test_worker import POLLING, again, wait_until
from utils.records import Job, User, db
from utils.settings import PROJECT_ROOT, Settings
from utils.workflow import synthetic

pytestmark = pytest.mark.slow
EPOCHS = 14


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: nothing is trained")
    folder = write_drawn_set(tmp_path / "datasets" / "drawn", {"Benign": 160, "Pre": 160})
    return settings.model_copy(update={"datasets_dir": folder.parent})


@pytest.fixture
def start_worker(
    settings: Settings, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = job_kinds.command(settings, **POLLING, datasets_dir=str(settings.datasets_dir))
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as sink:
            process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=sink, stderr=sink)
        started.append(process)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def children(of: int) -> list[int]:
    """Processes that a worker started."""
    listed = Path(f"/proc/{of}/task").glob("*/children")
    return [int(word) for path in listed for word in path.read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_for(job: Job | None, state: str, seconds: float = 240) -> None:
    assert job is not None
    wait_until(lambda: again(job).state in {state, "failed"}, seconds)
    assert job.state == state, job.message


def test_killed_in_training_and_in_sampling_it_goes_on(
    app: Flask, settings: Settings, start_worker: Callable[[], subprocess.Popen[bytes]]
) -> None:
    with app.app_context():
        session = db.session()
        admin = User(
            name="Ada", email="a@b.example", password_hash="", role="administrator", state="active"
        )
        session.add(admin)
        run = synthetic.start(
            session, admin, settings,
            source="drawn", codes=["Benign", "Pre"], preset="smoke", epochs=EPOCHS,
        )  # fmt: skip
        session.commit()
        folder, job = synthetic.folder_of(run, settings), run.train_job
        assert job is not None

        worker = start_worker()
        wait_until(lambda: len(synthetic.rows_of(folder)) >= 2 or again(job).state == "failed", 240)
        assert job.state == "running", job.message
        (trainer,) = children(worker.pid)
        worker.kill()
        worker.wait()
        wait_until(lambda: not alive(trainer), 60)  # it does not outlive its worker
        done = len(synthetic.rows_of(folder))
        assert done < EPOCHS
        assert not synthetic.has_generator(folder)

        worker = start_worker()
        wait_for(run.train_job, "done")
        rows = synthetic.rows_of(folder)
        assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
        assert synthetic.has_generator(folder)
        assert not list(folder.glob("*.partial"))

        drawn = synthetic.sample(session, admin, run, code="Pre", count=4000, seed=1)
        session.commit()
        place = synthetic.samples_dir(run, drawn, settings)
        wait_until(lambda: place.is_dir() and len(list(place.glob("*.png"))) > 100, 120)
        (sampler,) = children(worker.pid)
        os.kill(sampler, signal.SIGKILL)
        wait_for(drawn.job, "failed", 60)
        assert drawn.job is not None
        assert "can go on" in drawn.job.message
        assert synthetic.finished_samples(run) == []
        synthetic.draw_again(session, admin, drawn)
        session.commit()
        wait_for(drawn.job, "done", 120)
        assert synthetic.finished_samples(run) == [drawn]
        assert len(list(place.iterdir())) == 4000
