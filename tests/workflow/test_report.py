"""Issuing reports: versions, what they say of a review, races, and what verification tells."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
from flask import Flask
from pypdf import PdfReader

from tests.reports.stored import CENTRES, draw_field, store_field
from utils.errors import NotAllowed, NotFound, StorageFailed, StorageFull
from utils.imaging.decode import encode_png
from utils.networks.manifest import Manifest
from utils.networks.registry import load_classifier
from utils.records import Analysis, AuditEntry, Case, ReportVersion, User, audit, db
from utils.workflow import accounts, report, report_figures, review
from utils.workflow.analyse import analyse_image

BASE_URL = "https://marrow.example.org"


@pytest.fixture
def make_user(app: Flask) -> Callable[..., int]:
    """Make a person and give the number of the row."""

    def make(role: str = "pathologist", name: str = "Дмитрий Щербаков") -> int:
        with app.app_context():
            user = accounts.create(
                db.session,
                app.extensions["marrow_find"].settings,
                name=name,
                email=f"{role}{name.encode().hex()[:12]}@example.org",
                password="correct horse battery",
                role=role,
            )
            return user.id

    return make


@pytest.fixture
def owner_id(make_user: Callable[..., int]) -> int:
    return make_user()


@pytest.fixture
def public_id(app: Flask, owner_id: int) -> str:
    return store_field(app, owner_id)


def issue(app: Flask, public_id: str, user_id: int, **more: Any) -> ReportVersion:
    """Issue within the current application context."""
    services = app.extensions["marrow_find"]
    analysis = db.session.scalars(db.select(Analysis).filter_by(public_id=public_id)).one()
    values = {
        "blobs": services.blobs,
        "models_dir": services.settings.models_dir,
        "base_url": BASE_URL,
        "laboratory_name": "Haematology",
    }
    return report.issue_report(analysis, db.session.get(User, user_id), **(values | more))


def correct(public_id: str, user_id: int, code: str | None, reason: str) -> None:
    """Correct the label within the current application context."""
    analysis = db.session.scalars(db.select(Analysis).filter_by(public_id=public_id)).one()
    review.correct(analysis, db.session.get(User, user_id), code, reason)


def text_of(app: Flask, version: ReportVersion) -> str:
    """Text of a version's PDF, in one line."""
    pdf = app.extensions["marrow_find"].blobs.read(version.pdf_sha256)
    return " ".join(" ".join(page.extract_text().split()) for page in PdfReader(BytesIO(pdf)).pages)


def test_first_report(app, public_id, owner_id):
    with app.app_context():
        version = issue(app, public_id, owner_id)
        assert (version.number, version.replaces_id) == (1, None)
        text = text_of(app, version)
        case = db.session.scalars(db.select(Case)).one()
        assert case.state == "preliminary"
        entry = db.session.scalars(
            db.select(AuditEntry).where(AuditEntry.action == "report.issue")
        ).one()
        assert entry.object_id == version.public_id
        assert entry.details["pdf_sha256"] == version.pdf_sha256
        assert "Παπαδ" not in str(entry.details)
        assert audit.verify(db.session()) == []
    for words in (
        "BM-2026-0142",
        "Ελευθερία Παπαδοπούλου",
        "Дмитрий Щербаков",
        "1 of 1",
        "Pattern resembling: Pre (image class)",
        "NOT REVIEWED BY A PERSON",
        "93.2 %",
        "78 % of the heat lies on nucleated cells, which cover 12 % of the field",
        "Confirm by flow cytometry",
        "Nucleated cells found by watershed: 4. A count of one field, not a differential.",
        "all4, version 0-untrained",
        "0 confirmed, 0 changed, 1 unreviewed",
    ):
        assert words in text, words
    # The address is longer than its line.
    address = f"{BASE_URL}/verify/{version.public_id}?h={version.content_sha256[:16]}"
    assert address in text.replace(" ", "")


def test_nothing_changed_gives_the_same_version(app, public_id, owner_id, make_user):
    with app.app_context():
        first = issue(app, public_id, owner_id).id
        assert issue(app, public_id, owner_id).id == first
        # Whoever asks: the paper says the same.
        other = make_user(name="Somebody Else")
        assert issue(app, public_id, other).id == first
        assert db.session.scalar(sa.select(sa.func.count(ReportVersion.id))) == 1
        assert (
            db.session.scalar(sa.select(sa.func.count()).where(AuditEntry.action == "report.issue"))
            == 1
        )


def test_correction_makes_a_version_that_replaces(app, public_id, owner_id):
    with app.app_context():
        first = issue(app, public_id, owner_id)
        first_id, first_public = first.id, first.public_id
        correct(public_id, owner_id, "Pro", "Flow cytometry says otherwise")
        second = issue(app, public_id, owner_id)
        assert (second.number, second.replaces_id) == (2, first_id)
        text = text_of(app, second)
        assert report.report_state(first_public).state == "replaced"
        assert report.report_state(second.public_id).state == "current"
    assert "CORRECTED BY A PERSON" in text
    assert "Pattern resembling: Pro (image class)" in text
    assert "The network read: Pattern resembling: Pre (image class), 93.2 %" in text
    assert "Corrected: Pre → Pro" in text
    assert "Reason: Flow cytometry says otherwise" in text
    assert "Replaces version 1 of" in text
    assert "0 confirmed, 1 changed, 0 unreviewed" in text


def test_undone_correction_is_a_third_version(app, public_id, owner_id):
    with app.app_context():
        issue(app, public_id, owner_id)
        correct(public_id, owner_id, None, "Nothing can be said")
        second = issue(app, public_id, owner_id)
        assert "Corrected: Pre → Unclassifiable — review" in text_of(app, second)
        analysis = db.session.scalars(db.select(Analysis)).one()
        review.undo(analysis, db.session.get(User, owner_id))
        third = issue(app, public_id, owner_id)
        assert third.number == 3
        text = text_of(app, third)
    assert "NOT REVIEWED BY A PERSON" in text
    assert "Taken back: Unclassifiable — review → Pre" in text


def test_confirmed_result(app, public_id, owner_id):
    with app.app_context():
        analysis = db.session.scalars(db.select(Analysis)).one()
        review.confirm(analysis, db.session.get(User, owner_id))
        text = text_of(app, issue(app, public_id, owner_id))
    assert "CONFIRMED BY A PERSON" in text
    assert "Confirmed by Дмитрий Щербаков" in text
    assert "1 confirmed, 0 changed, 0 unreviewed" in text


def test_changed_case_makes_a_new_version(app, public_id, owner_id):
    with app.app_context():
        issue(app, public_id, owner_id)
        db.session.scalars(db.select(Case)).one().indication = "Relapse"
        db.session.commit()
        assert issue(app, public_id, owner_id).number == 2


def test_abstained_result(app, owner_id):
    public_id = store_field(
        app,
        owner_id,
        label_code=None,
        abstained=True,
        reasons=["low_confidence", "out_of_distribution"],
        flags=["low_confidence", "out_of_distribution", "heat_off_cells", "exif_rotated"],
        heat_on_cells=0.21,
    )
    with app.app_context():
        text = text_of(app, issue(app, public_id, owner_id))
    assert "Unclassifiable — review" in text
    assert "Low confidence. The highest calibrated probability is below" in text
    assert "Unlike the training images." in text
    assert "21 % of the heat lies on nucleated cells" in text
    assert "The network did not look at the cells" in text
    assert "The camera’s rotation was applied." in text
    assert "Pattern resembling" not in text
    assert "Abstained Yes: low confidence, unlike the training images" in text


def test_manifest_of_the_network_that_read_it(app, owner_id, models_dir):
    manifest = Manifest.load(models_dir / "all4" / "0-untrained" / "manifest.json")
    public_id = store_field(app, owner_id, network_sha256=manifest.weights_sha256)
    with app.app_context():
        text = text_of(app, issue(app, public_id, owner_id))
    assert "none: untrained" in text
    assert "temperature 1.000" in text


def test_network_that_is_gone_is_said_to_be(app, owner_id, tmp_path: Path):
    public_id = store_field(app, owner_id)
    with app.app_context():
        text = text_of(app, issue(app, public_id, owner_id, models_dir=tmp_path))
    assert "this version is no longer installed" in text
    assert "Confirm by flow cytometry" in text


def test_pdf_holds_no_name_of_a_file_and_no_metadata(app, public_id, owner_id):
    with app.app_context():
        version = issue(app, public_id, owner_id)
        pdf = app.extensions["marrow_find"].blobs.read(version.pdf_sha256)
        upload_key = db.session.scalars(db.select(Analysis)).one().upload_key
    assert upload_key == "1"
    assert str(app.instance_path).encode() not in pdf
    assert b"Exif" not in pdf
    assert b"Adobe" not in pdf
    assert len(pdf) < 600_000


def test_nobody_issues_what_they_may_not(app, public_id, make_user):
    trainee, technician = make_user("trainee"), make_user("technician")
    with app.app_context():
        with pytest.raises(NotFound):
            issue(app, public_id, trainee)
        with pytest.raises(NotAllowed):
            issue(app, public_id, technician)
        assert db.session.scalar(sa.select(sa.func.count(ReportVersion.id))) == 0


def test_full_disk_issues_nothing(app, public_id, owner_id):
    with app.app_context():
        services = app.extensions["marrow_find"]
        services.blobs.lowest_free_bytes = 2**62
        with pytest.raises(StorageFull):
            issue(app, public_id, owner_id)
        assert db.session.scalar(sa.select(sa.func.count(ReportVersion.id))) == 0
        assert db.session.scalars(db.select(Case)).one().state == "draft"
        services.blobs.lowest_free_bytes = 0
        assert issue(app, public_id, owner_id).number == 1


def test_lost_picture_is_an_error_and_no_report(app, public_id, owner_id):
    with app.app_context():
        services = app.extensions["marrow_find"]
        analysis = db.session.scalars(db.select(Analysis)).one()
        services.blobs.path(analysis.original_sha256).unlink()
        with pytest.raises(StorageFailed):
            issue(app, public_id, owner_id)
        assert db.session.scalar(sa.select(sa.func.count(ReportVersion.id))) == 0


def _at_once(app: Flask, *works: Callable[[], Any]) -> list[Any]:
    """Run works in threads that start together, each with a session of its own."""
    gate, answers = threading.Barrier(len(works)), [None] * len(works)

    def run(place: int, work: Callable[[], Any]) -> None:
        with app.app_context():
            gate.wait()
            try:
                answers[place] = work()
            except Exception as error:
                answers[place] = error
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(place, work)) for place, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_the_same_report_asked_for_at_once_is_issued_once(app, public_id, owner_id):
    answers = _at_once(app, *(lambda: issue(app, public_id, owner_id).number,) * 4)
    assert answers == [1, 1, 1, 1]
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(ReportVersion.id))) == 1


def test_different_reports_at_once_get_different_numbers(app, public_id, owner_id):
    def after(code: str) -> Callable[[], int]:
        def work() -> int:
            correct(public_id, owner_id, code, f"Looks like {code}")
            return issue(app, public_id, owner_id).number

        return work

    answers = _at_once(app, after("Pro"), after("Early"), after("Benign"))
    assert all(isinstance(answer, int) for answer in answers), answers
    with app.app_context():
        versions = db.session.scalars(db.select(ReportVersion).order_by(ReportVersion.number)).all()
        assert [version.number for version in versions] == list(range(1, len(versions) + 1))
        assert max(answers) == len(versions)
        # One chain: each version replaces the one before it.
        assert [version.replaces_id for version in versions] == [
            None,
            *(version.id for version in versions[:-1]),
        ]
        states = [report.report_state(version.public_id).state for version in versions]
        assert states == ["replaced"] * (len(versions) - 1) + ["current"]
        # The current one says what stands now.
        analysis = db.session.scalars(db.select(Analysis)).one()
        current = text_of(app, versions[-1])
        assert f"Pattern resembling: {analysis.reviewed_code} (image class)" in current
        assert audit.verify(db.session()) == []


def test_review_between_drawing_up_and_keeping_starts_again(app, public_id, owner_id, monkeypatch):
    """The paper is printed while somebody corrects: what is kept says the correction."""
    printed = report.render_report
    done = []

    def print_slowly(content: Any) -> bytes:
        if not done:
            done.append(True)
            answer = _at_once(app, lambda: correct(public_id, owner_id, "Pro", "Meanwhile"))
            assert answer == [None]
        return printed(content)

    monkeypatch.setattr(report, "render_report", print_slowly)
    with app.app_context():
        version = issue(app, public_id, owner_id)
        assert version.number == 1
        assert "Pattern resembling: Pro (image class)" in text_of(app, version)


@pytest.mark.parametrize("code", [None, "right", "wrong", "", "ABC", "é", "0" * 16, "0" * 4000])
def test_state_of_a_paper(app, public_id, owner_id, code):
    with app.app_context():
        version = issue(app, public_id, owner_id)
        right = version.content_sha256[:16]
        given = {"right": right, "wrong": right[:-1]}.get(code, code)
        state = report.report_state(version.public_id, given)
        if code in (None, "right"):
            assert (state.state, state.number) == ("current", 1)
            assert state.issued_at == version.created_at
            assert state.compared == (code == "right")
        else:
            assert state.state == "mismatch"
            assert state.number is None
            assert state.issued_at is None


def test_unknown_paper(app):
    with app.app_context():
        assert report.report_state("nothing-of-this-name", "0" * 16).state == "unknown"


def test_replaced_paper_tells_by_what_and_when(app, public_id, owner_id):
    with app.app_context():
        first = issue(app, public_id, owner_id)
        key, code = first.public_id, first.content_sha256[:16]
        correct(public_id, owner_id, "Pro", "Because")
        second = issue(app, public_id, owner_id)
        state = report.report_state(key, code)
        assert (state.state, state.number, state.replaced_by) == ("replaced", 1, 2)
        assert state.replaced_at == second.created_at


# Not stored --------------------------------------------------------------------------------------


def test_unstored_fields_in_one_paper(settings):
    classifier = load_classifier(settings.models_dir, "all4")
    results = [
        analyse_image(
            encode_png(draw_field(seed, *shape)), classifier=classifier, settings=settings
        )
        for seed, shape in enumerate([(200, 260), (260, 200)])
    ]
    pdf = report.report_for_unstored(results, made_at=datetime(2026, 11, 21, 8, tzinfo=UTC))
    text = " ".join(" ".join(page.extract_text().split()) for page in PdfReader(BytesIO(pdf)).pages)
    assert "Not stored: cannot be verified" in text
    assert "/verify/" not in text
    for number, result in enumerate(results, start=1):
        assert f"Image {number} of 2" in text
        assert f"Nucleated cells found by watershed: {result.segmentation.count}." in text
    assert "Picture: PNG, 260 × 200 px." in text
    assert "Picture: PNG, 200 × 260 px." in text
    assert text.count("all4, version 0-untrained") == 1
    assert "RESEARCH USE ONLY" in text.upper()
    again = report.report_for_unstored(results, made_at=datetime(2026, 11, 21, 8, tzinfo=UTC))
    assert again == pdf


def test_no_paper_of_nothing():
    with pytest.raises(ValueError, match="at least one field"):
        report.report_for_unstored([])


# The pictures ------------------------------------------------------------------------------------


def _pixels(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_pictures_leave_the_field_alone_and_are_of_one_size():
    pixels = draw_field()
    before = pixels.copy()
    cam = np.zeros((7, 7), np.float32)
    cam[2, 2] = 1
    figures = [
        report_figures.field_figure(pixels, ""),
        report_figures.heat_figure(pixels, cam, ceiling=1.0, caption=""),
        report_figures.cells_figure(pixels, [], ""),
    ]
    assert np.array_equal(pixels, before)
    sizes = {_pixels(figure.jpeg).shape for figure in figures}
    assert sizes == {(figures[0].height_px, figures[0].width_px, 3)}
    assert abs(figures[0].width_px / figures[0].height_px - 260 / 200) < 0.01


def test_outlines_lie_where_the_cells_are():
    pixels = draw_field()
    x, y = CENTRES[0]
    square = [[x - 20, y - 20], [x + 20, y - 20], [x + 20, y + 20], [x - 20, y + 20]]
    plain = _pixels(report_figures.cells_figure(pixels, [], "").jpeg)
    drawn = _pixels(report_figures.cells_figure(pixels, [square], "").jpeg)
    scale = drawn.shape[1] / pixels.shape[1]
    redder = (drawn - plain)[..., 0] - (drawn - plain)[..., 1] > 60
    rows, columns = np.nonzero(redder)
    found = np.array([rows.min(), rows.max(), columns.min(), columns.max()]) / scale
    assert np.allclose(found, [y - 20, y + 20, x - 20, x + 20], atol=1.5)


def test_heat_lies_where_the_map_is_and_nowhere_when_it_is_empty():
    pixels = draw_field()
    cam = np.zeros((7, 7), np.float32)
    empty = report_figures.heat_figure(pixels, cam, ceiling=1.0, caption="").jpeg
    assert empty == report_figures.field_figure(pixels, "").jpeg
    cam[0, 0] = 1
    plain, heat = (
        _pixels(empty),
        _pixels(report_figures.heat_figure(pixels, cam, ceiling=1.0, caption="").jpeg),
    )
    change = (heat - plain)[..., 0] - (heat - plain)[..., 2]
    assert change[:20, :20].mean() > change[-20:, -20:].mean() + 40


@pytest.mark.parametrize("shape", [(64, 64), (40, 3000), (3000, 40), (2000, 2000)])
def test_noise_of_any_shape_stays_small(shape):
    noise = np.random.default_rng(5).integers(0, 255, (*shape, 3), dtype=np.uint8)
    figure = report_figures.field_figure(noise, "")
    assert len(figure.jpeg) <= report_figures.MOST_BYTES
    assert max(figure.width_px, figure.height_px) <= report_figures.LONGEST_SIDE_PX
