"""The laboratory's pages: each route for each role, and what they show of a run."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from flask import Flask

from tests.conftest import Auth
from utils.networks.gan.sheets import write_synthetic
from utils.records import Job, SyntheticRun, SyntheticSample, db
from utils.records.users import ROLES
from utils.settings import Settings

SEES = {"administrator", "pathologist"}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "datasets"
    for code, count in (("Benign", 2), ("Pre", 4)):
        (folder / "all4" / code).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / "all4" / code / f"{i}.png"), np.zeros((8, 8, 3), np.uint8))
    return settings.model_copy(update={"datasets_dir": folder})


def started(auth: Auth) -> str:
    """A training, queued; its address."""
    answer = auth.post(
        "/synthetic",
        {"source": "all4", "code": ["Benign", "Pre"], "preset": "smoke", "epochs": "3"},
    )
    assert answer.status_code == 303
    return str(answer.location)


def finish(app: Flask, settings: Settings) -> tuple[str, str]:
    """Files of a finished run and a complete drawing; their identifiers."""
    with app.app_context():
        run = db.session.scalars(db.select(SyntheticRun)).one()
        assert run.train_job is not None
        run.train_job.state = "done"
        job = Job(kind="gan.sample", state="done")
        drawn = SyntheticSample(run=run, code="Pre", count=2, seed=1, job=job)
        db.session.add(drawn)
        db.session.commit()
        folder = settings.synthetic_dir / run.public_id
        (folder / "sheets").mkdir(parents=True)
        pixels = np.full((8, 8, 3), 200, np.uint8)
        rows = [
            {"epoch": n, "generator": 1.0 / n, "discriminator": 2.0, "seconds": 1.0,
             "sheet": f"epoch-{n:04d}.png"} | ({"kernel": 2.0 / n} if n > 1 else {})
            for n in (1, 2, 3)
        ]  # fmt: skip
        for row in rows:
            write_synthetic(pixels, folder / "sheets" / str(row["sheet"]))
        (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        (folder / "words.log").write_text("a word\n")
        place = folder / "samples" / drawn.public_id
        place.mkdir(parents=True)
        for n in range(2):
            write_synthetic(pixels, place / f"synthetic-Pre-1-{n:06d}.png")
        (folder / "generator.onnx").write_bytes(b"x")
        (folder / "generator.json").write_text("{}")
        return run.public_id, drawn.public_id


@pytest.mark.parametrize("role", ROLES)
def test_who_sees_and_who_changes(app: Flask, auth: Auth, settings: Settings, role: str) -> None:
    auth.enter()
    place = started(auth)
    run, drawn = finish(app, settings)
    person = auth if role == "administrator" else auth.as_role(role)
    reads = ["/synthetic", place, f"{place}/progress", f"{place}/sheets/2.png", f"{place}/log.txt"]
    reads += [f"{place}/samples/{drawn}/0.png", f"{place}/samples/{drawn}.zip"]
    for address in reads:
        answer = person.client.get(address)
        assert answer.status_code == (200 if role in SEES else 403), address
        answer.close()
    assert run in place
    writes = [("/synthetic", {}), (f"{place}/evaluate", {}), (f"{place}/samples", {"code": "Pre"})]
    writes += [(f"{place}/{step}", {}) for step in ("pause", "resume", "delete")]
    for address, values in writes:
        answer = person.post(address, values)
        if role != "administrator":
            assert answer.status_code == 403, address
        else:
            assert answer.status_code in {303, 409, 422}, address


def test_a_page_shows_the_imbalance_and_starts_a_training(auth: Auth, app: Flask) -> None:
    auth.enter()
    page = auth.client.get("/synthetic").get_data(as_text=True)
    assert "6 pictures, 2 classes" in page
    assert "+2" in page
    place = started(auth)
    page = auth.client.get(place).get_data(as_text=True)
    assert "Waits for the worker" in page
    assert "0</span> of 3 epochs" in page
    assert auth.post(f"{place}/pause").status_code == 303
    assert "Paused" in auth.client.get(place).get_data(as_text=True)
    assert auth.post(f"{place}/resume").status_code == 303
    assert auth.client.get(f"{place}/progress").get_json()["state"] == "queued"
    assert auth.post(f"{place}/delete").status_code == 409


@pytest.mark.parametrize(
    "values",
    [
        {"source": "all4", "code": "Pre", "preset": "smoke"},
        {"source": "..", "code": ["Benign", "Pre"], "preset": "smoke"},
        {"source": "all4", "code": ["Benign", "Pre"], "preset": "smoke", "epochs": "many"},
    ],
)
def test_wrong_wishes_are_refused(auth: Auth, values: dict[str, object]) -> None:
    auth.enter()
    assert auth.post("/synthetic", values).status_code == 422


def test_a_finished_run_shows_its_pictures_and_curves(
    app: Flask, auth: Auth, settings: Settings
) -> None:
    auth.enter()
    place = started(auth)
    _, drawn = finish(app, settings)
    page = auth.client.get(place).get_data(as_text=True)
    assert f"{place}/sheets/3.png" in page
    assert "Measure, and ask the gate" in page
    assert page.count("Synthetic field ") == 2
    state = auth.client.get(f"{place}/progress").get_json()
    assert (state["state"], state["epochs"], state["waiting"]) == ("done", 3, False)
    assert state["curves"]["generator"].startswith("0.0,")
    assert len(state["curves"]["kernel"].split()) == 2
    archive = auth.client.get(f"{place}/samples/{drawn}.zip")
    with zipfile.ZipFile(io.BytesIO(archive.data)) as files:
        assert len(files.namelist()) == 2
        assert b"Synthetic" in files.read(files.namelist()[0])
    words = auth.client.get(f"{place}/log.txt").get_data(as_text=True)
    assert "a word" in words
    for missing in (
        f"{place}/sheets/9.png",
        f"{place}/samples/{drawn}/7.png",
        f"{place}/nearest.png",
    ):
        assert auth.client.get(missing).status_code == 404
    assert auth.post(f"{place}/delete").status_code == 303
    assert auth.client.get(place).status_code == 404


def test_the_gates_verdict_is_shown_for_these_weights_only(
    app: Flask, auth: Auth, settings: Settings
) -> None:
    auth.enter()
    place = started(auth)
    run, _ = finish(app, settings)
    folder = settings.synthetic_dir / run
    measures = ("kernel", "frechet", "precision", "recall")
    row = {name: 0.5 for key in measures for name in (key, f"{key}_floor")}
    row |= {f"{key}_interval": None for key in measures}  # type: ignore[misc]
    report = {
        "ruler": "all4 1", "weights_sha256": "abc", "all": row | {"n": 9},
        "per_class": {"Pre": row | {"n": 9}},
        "memorised": {"share": 0.2, "auroc": 0.7}, "probe": {"auroc": 1.0, "floor": 0.5},
        "trained_on": {"synthetic": 0.4, "real": 0.9},
    }  # fmt: skip
    verdict = {
        "passed": False, "runs": 9, "tested": 12, "added": {"Pre": 0}, "weights_sha256": "abc",
        "sentence": "These synthetic pictures may not train anything.",
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(report))
    (folder / "gate.json").write_text(json.dumps(verdict))
    page = auth.client.get(place).get_data(as_text=True)
    assert "The gate: closed" in page
    assert "20 % lie closer to a training picture" in page
    (folder / "gate.json").write_text(json.dumps(verdict | {"weights_sha256": "def"}))
    assert "The gate:" not in auth.client.get(place).get_data(as_text=True)
