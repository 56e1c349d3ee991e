"""``flask analyse``: the way of an image without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.conftest import Auth
from utils.records import Analysis, Case, ReportVersion, User, db

KEYS = {
    "image",
    "network",
    "label",
    "probability",
    "probabilities",
    "abstained",
    "flags",
    "heat_on_cells",
    "cells",
    "timings_ms",
}


@pytest.fixture
def image(smear: bytes, tmp_path: Path) -> Path:
    place = tmp_path / "Ä field.jpg"
    place.write_bytes(smear)
    return place


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    place = tmp_path / "broken.jpg"
    place.write_bytes(b"no image")
    return place


def _count(app: Flask, record: type) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(record)) or 0


def test_json_is_one_object_with_the_agreed_keys(
    app: Flask, runner: FlaskCliRunner, image: Path
) -> None:
    done = runner.invoke(args=["analyse", "--json", str(image), str(image)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told) == {"analyses"}
    assert len(told["analyses"]) == 2
    first = told["analyses"][0]
    assert set(first) == KEYS
    assert first["image"] == str(image)
    assert first["network"] == {"name": "all4", "version": "0-untrained"}
    assert first["label"] in ("Benign", "Early", "Pre", "Pro")
    assert first["probability"] == pytest.approx(first["probabilities"][first["label"]])
    assert first["cells"]["nucleated"] > 5
    assert first["abstained"] is False
    assert _count(app, Analysis) == 0
    assert _count(app, Case) == 0


def test_an_abstention_has_the_label_null(runner: FlaskCliRunner, tmp_path: Path) -> None:
    from PIL import Image

    place = tmp_path / "white.png"
    Image.new("RGB", (300, 200), (240, 240, 240)).save(place)
    told = json.loads(runner.invoke(args=["analyse", "--json", str(place)]).stdout)["analyses"][0]
    assert told["label"] is None
    assert told["abstained"] is True
    assert "blank" in told["flags"]


def test_people_get_a_line_for_each_image(runner: FlaskCliRunner, image: Path) -> None:
    done = runner.invoke(args=["analyse", str(image)])
    assert done.exit_code == 0
    line, last = done.stdout.splitlines()
    assert line.startswith("Ä field.jpg  ")
    assert "nucleated" in line
    assert " ms" in line
    assert "Research Use Only" in last


def test_a_bad_file_is_told_and_the_others_are_read(
    runner: FlaskCliRunner, image: Path, broken: Path
) -> None:
    done = runner.invoke(args=["analyse", "--json", str(broken), str(image)])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [one["image"] for one in told["analyses"]] == [str(image)]
    assert [one["image"] for one in told["errors"]] == [str(broken)]
    assert told["errors"][0]["code"] == "unsupported_image"
    assert done.stderr.strip() == f"{broken}: {told['errors'][0]['message']}"


@pytest.mark.parametrize(
    "args",
    [[], ["nowhere.jpg"], ["--as", "ada@example.org", "IMAGE"], ["--colour", "IMAGE"], ["FOLDER"]],
)
def test_a_wrong_argument_is_one_sentence_and_code_2(
    runner: FlaskCliRunner, image: Path, args: list[str]
) -> None:
    places = {"IMAGE": str(image), "FOLDER": str(image.parent)}
    done = runner.invoke(args=["analyse", *(places.get(arg, arg) for arg in args)])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_missing_network_is_one_sentence(make_app, image: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    app = make_app(models_dir=tmp_path / "none")
    done = app.test_cli_runner().invoke(args=["analyse", str(image)])
    assert done.exit_code == 1
    assert "all4" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_report_is_a_pdf_and_nothing_is_kept(
    app: Flask, runner: FlaskCliRunner, image: Path, tmp_path: Path
) -> None:
    from pypdf import PdfReader

    pdf = tmp_path / "report.pdf"
    done = runner.invoke(args=["analyse", str(image), str(image), "--pdf", str(pdf)])
    assert done.exit_code == 0, done.output
    pages = PdfReader(pdf).pages
    assert len(pages) >= 2
    assert "PRELIMINARY" in pages[0].extract_text()
    assert _count(app, Analysis) == 0
    nowhere = tmp_path / "none" / "report.pdf"
    refused = runner.invoke(args=["analyse", str(image), "--pdf", str(nowhere)])
    assert refused.exit_code == 1
    assert "cannot be written" in refused.stderr


def test_storing_needs_to_know_for_whom(
    app: Flask, runner: FlaskCliRunner, auth: Auth, image: Path
) -> None:
    refused = runner.invoke(args=["analyse", "--store", str(image)])
    assert refused.exit_code == 2
    assert _count(app, Analysis) == 0
    auth.enter()
    done = runner.invoke(args=["analyse", "--store", "--json", str(image), str(image)])
    assert done.exit_code == 0, done.output
    ids = [one["id"] for one in json.loads(done.stdout)["analyses"]]
    with app.app_context():
        rows = list(db.session.scalars(sa.select(Analysis).order_by(Analysis.number)))
        owner = db.session.scalars(sa.select(User)).one()
        assert [row.public_id for row in rows] == ids
        assert {row.owner_id for row in rows} == {owner.id}
        assert len({row.case_id for row in rows}) == 1


def test_a_stored_field_gets_the_report_that_can_be_verified(
    app: Flask, runner: FlaskCliRunner, auth: Auth, image: Path, tmp_path: Path
) -> None:
    from pypdf import PdfReader

    auth.register()
    pdf = tmp_path / "report.pdf"
    done = runner.invoke(args=["analyse", str(image), "--store", "--pdf", str(pdf)])
    assert done.exit_code == 0, done.stderr
    text = "".join(page.extract_text() for page in PdfReader(pdf).pages)
    assert "Not stored" not in text
    assert "PRELIMINARY" in text
    with app.app_context():
        version = db.session.scalars(sa.select(ReportVersion)).one()
        kept = app.extensions["marrow_find"].blobs.read(version.pdf_sha256)
    assert pdf.read_bytes() == kept


def test_several_stored_fields_have_no_common_report(
    app: Flask, runner: FlaskCliRunner, auth: Auth, image: Path, tmp_path: Path
) -> None:
    auth.register()
    args = ["analyse", str(image), str(image), "--store", "--pdf", str(tmp_path / "report.pdf")]
    assert runner.invoke(args=args).exit_code == 2
    assert _count(app, Analysis) == 0
