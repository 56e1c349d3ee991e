"""The way of an image: each station, what is said of the field, and what is kept of it."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
from flask import Flask

from tests.workflow.conftest import MakeUser
from utils.errors import DatabaseBusy, NotAllowed, NotFound, StorageFull
from utils.imaging.cells import Found
from utils.imaging.decode import encode_jpeg, encode_png
from utils.imaging.synthesis import field, not_a_smear
from utils.networks.classifier import Classifier, Reading
from utils.networks.registry import load_classifier
from utils.records import Analysis, AuditEntry, Case, audit, db
from utils.records.blobs import BlobStore
from utils.settings import PROJECT_ROOT, Settings
from utils.workflow import analyse
from utils.workflow.analyse import AnalysisResult, analyse_image, store_analysis
from utils.workflow.attention import weigh_attention

STATIONS = ("decode", "quality", "preprocess", "forward", "watershed", "decide", "attention")


@pytest.fixture(scope="module")
def classifier(models_dir: Path) -> Classifier:
    return load_classifier(models_dir, "all4")


@pytest.fixture
def result(smear: bytes, classifier: Classifier, settings: Settings) -> AnalysisResult:
    return analyse_image(smear, classifier=classifier, settings=settings)


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blobs_dir)


def _count(record: type) -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(record)) or 0


def test_each_station_is_passed_and_timed(result: AnalysisResult) -> None:
    assert tuple(result.timings_ms) == STATIONS
    assert all(ms >= 0 for ms in result.timings_ms.values())
    assert sum(result.probabilities.values()) == pytest.approx(1.0)
    assert list(result.probabilities) == result.manifest.codes
    assert result.verdict.label_code == result.reading.top_code
    assert result.segmentation.count > 5
    assert result.clahe.shape == result.decoded.pixels.shape


def test_the_same_bytes_give_the_same_result(
    smear: bytes, classifier: Classifier, settings: Settings, result: AnalysisResult
) -> None:
    again = analyse_image(smear, classifier=classifier, settings=settings)
    assert again.probabilities == result.probabilities
    assert again.flags == result.flags
    assert np.array_equal(again.segmentation.labels, result.segmentation.labels)


@pytest.mark.parametrize("kind", ["blank", "xray"])
def test_where_nothing_is_nucleated_no_class_is_named(
    kind: str, classifier: Classifier, settings: Settings
) -> None:
    # The network of the tests never abstains by itself.
    data = encode_png(not_a_smear(kind, 3, 256))
    result = analyse_image(data, classifier=classifier, settings=settings)
    assert result.abstained
    assert "no_nucleated_cell" in result.verdict.reasons
    assert set(result.verdict.reasons) <= set(result.flags)


def test_a_white_field_is_unclassifiable(classifier: Classifier, settings: Settings) -> None:
    data = encode_png(np.full((200, 300, 3), 240, np.uint8))
    result = analyse_image(data, classifier=classifier, settings=settings)
    assert result.verdict.label_code is None
    assert result.verdict.reasons[0] == "blank"
    assert "no_nucleated_cell" in result.verdict.reasons


def _reading(result: AnalysisResult, **changes: object) -> Reading:
    return dataclasses.replace(result.reading, **changes)  # type: ignore[arg-type]


def test_what_the_network_says_of_its_doubt_becomes_the_reason(result: AnalysisResult) -> None:
    doubtful = _reading(result, label=None, reasons=("low_confidence", "out_of_distribution"))
    verdict = analyse.decide(doubtful, result.quality, Found(result.segmentation, None))
    assert verdict == analyse.Verdict(None, ("low_confidence", "out_of_distribution"))


def test_a_picture_of_one_cell_names_no_pattern(classifier: Classifier, settings: Settings) -> None:
    tile = np.full((160, 160, 3), (236, 232, 240), np.uint8)
    cv2.circle(tile, (80, 80), 44, (205, 190, 222), -1)
    cv2.circle(tile, (76, 82), 31, (105, 55, 145), -1)
    result = analyse_image(encode_png(tile), classifier=classifier, settings=settings)
    assert result.single_cell
    assert result.segmentation.count == 1
    assert result.verdict.label_code is None
    assert result.verdict.reasons[0] == "single_cell"


def _flags(result: AnalysisResult, cams: np.ndarray) -> tuple[str, ...]:
    reading = _reading(result, cams=cams.astype(np.float32))
    attention = weigh_attention(reading, result.segmentation, result.manifest)
    return analyse.collect_flags(result.decoded, result.quality, reading, result.verdict, attention)


def test_heat_away_from_the_cells_is_flagged_and_heat_on_them_is_not(
    classifier: Classifier, settings: Settings
) -> None:
    # Cells in the upper left quarter only: heat there is on them, heat opposite is not.
    pixels = np.array(field(5, height=448, width=448, cells=40, touching_share=0.9).pixels)
    background = np.median(pixels.reshape(-1, 3), axis=0).astype(np.uint8)
    pixels[200:], pixels[:, 200:] = background, background
    result = analyse_image(encode_png(pixels), classifier=classifier, settings=settings)
    assert result.segmentation.count > 0
    cell = result.segmentation.nuclei[0]
    row, column = int(cell.centroid_row_px // 64), int(cell.centroid_col_px // 64)
    on, off = np.zeros((4, 7, 7)), np.zeros((4, 7, 7))
    on[:, row, column] = 1.0
    off[:, 6, 6] = 1.0
    assert "heat_off_cells" in _flags(result, off)
    assert "heat_off_cells" in _flags(result, np.ones((4, 7, 7))), "heat everywhere is on no cell"
    assert "heat_off_cells" not in _flags(result, on)
    shares = [
        weigh_attention(
            _reading(result, cams=cams.astype(np.float32)), result.segmentation, result.manifest
        ).heat_on_cells["Early"]
        for cams in (on, off)
    ]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[0] > 5 * shares[1]


def test_an_empty_map_is_no_evidence_and_not_heat_elsewhere(result: AnalysisResult) -> None:
    flags = _flags(result, np.zeros((4, 7, 7)))
    assert "no_evidence" in flags
    assert "heat_off_cells" not in flags


def test_an_even_map_has_the_share_that_chance_gives(result: AnalysisResult) -> None:
    reading = _reading(result, cams=np.ones((4, 7, 7), np.float32))
    attention = weigh_attention(reading, result.segmentation, result.manifest)
    for share in attention.heat_on_cells.values():
        assert share is not None
        assert math.isclose(share, attention.by_chance, abs_tol=1e-4)
    assert 0.0 < attention.by_chance < attention.at_best < 1.0


def test_storing_keeps_pictures_row_case_and_trail(
    context: Flask, make_user: MakeUser, result: AnalysisResult, blobs: BlobStore
) -> None:
    user = make_user()
    row = store_analysis(result, user=user, upload_key="key-one", blobs=blobs)
    assert (row.number, row.case.owner_id, row.review_state) == (1, user.id, "unreviewed")
    for name in ("original", "clahe", "boundaries", "thumbnail"):
        assert blobs.exists(getattr(row, f"{name}_sha256")), name
    assert row.label_code == result.verdict.label_code
    assert row.probabilities == result.probabilities
    assert np.allclose(np.asarray(row.cams), result.reading.cams, rtol=1e-6)
    assert row.nuclei_count == result.segmentation.count == len(row.nuclei["outlines"])
    assert set(row.timings_ms) == {*STATIONS, "encode", "store"}
    actions = list(db.session.scalars(sa.select(AuditEntry.action).order_by(AuditEntry.id)))
    assert actions == ["case.open", "analysis.create"]
    assert audit.verify(db.session()) == []


def test_the_same_key_is_one_analysis_and_the_same_picture_is_flagged(
    context: Flask, make_user: MakeUser, result: AnalysisResult, blobs: BlobStore
) -> None:
    user, other = make_user(), make_user()
    first = store_analysis(result, user=user, upload_key="key-one", blobs=blobs)
    again = store_analysis(result, user=user, upload_key="key-one", blobs=blobs)
    assert again.id == first.id
    assert (_count(Analysis), _count(Case)) == (1, 1)
    second = store_analysis(result, user=user, upload_key="key-two", blobs=blobs, case=first.case)
    assert (second.case_id, second.number) == (first.case_id, 2)
    assert "duplicate" in second.flags
    assert "duplicate" not in first.flags
    theirs = store_analysis(result, user=other, upload_key="key-one", blobs=blobs)
    assert theirs.id != first.id
    assert "duplicate" not in theirs.flags, "what another person analysed is nobody's business"


def test_a_field_joins_only_a_case_that_one_may_change(
    context: Flask, make_user: MakeUser, result: AnalysisResult, blobs: BlobStore
) -> None:
    case = store_analysis(result, user=make_user(), upload_key="key-one", blobs=blobs).case
    for role, refusal in (("technician", NotAllowed), ("trainee", NotFound)):
        with pytest.raises(refusal):
            store_analysis(result, user=make_user(role), upload_key="k-2", blobs=blobs, case=case)
    assert _count(Analysis) == 1


def test_a_full_disk_keeps_nothing(
    context: Flask, make_user: MakeUser, result: AnalysisResult, settings: Settings
) -> None:
    full = BlobStore(settings.blobs_dir, lowest_free_bytes=10**18)
    with pytest.raises(StorageFull):
        store_analysis(result, user=make_user(), upload_key="key-one", blobs=full)
    assert (_count(Analysis), _count(Case), _count(AuditEntry)) == (0, 0, 0)


def test_a_locked_database_keeps_nothing_and_says_so(
    make_app, make_user: MakeUser, result: AnalysisResult, blobs: BlobStore, settings: Settings
) -> None:
    user_id = make_user().id
    app = make_app(database_busy_ms=50)
    lock = sqlite3.connect(settings.instance_dir / "marrow-find.sqlite3")
    with app.app_context():
        user = db.session.get_one(type(make_user()), user_id)
        lock.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(DatabaseBusy):
                store_analysis(result, user=user, upload_key="key-one", blobs=blobs)
        finally:
            lock.rollback()
            lock.close()
        assert (_count(Analysis), _count(Case)) == (0, 0)
        store_analysis(result, user=user, upload_key="key-one", blobs=blobs)
        assert (_count(Analysis), _count(Case)) == (1, 1)


_IN_A_PROCESS = """
import os, sys
from pathlib import Path
from app import create_app
from tests.conftest import make_settings
import sqlalchemy as sa
from utils.records import Analysis, User, db
from utils.workflow.analyse import analyse_image, store_analysis
instance, models, image, how = map(Path, sys.argv[1:])
app = create_app(make_settings(instance, models))
with app.app_context():
    services = app.extensions["marrow_find"]
    user = db.session.scalars(sa.select(User)).first()
    result = analyse_image(
        image.read_bytes(), classifier=services.classifier, settings=services.settings
    )
    if how.name == "dies":
        # Between the pictures and the row, as a killed worker would.
        sa.event.listen(Analysis, "before_insert", lambda *_: os._exit(9))
    print("ready", flush=True)
    sys.stdin.readline()
    row = store_analysis(result, user=user, upload_key="one-key", blobs=services.blobs)
    print(row.public_id)
    db.session.remove()
    db.engine.dispose()
"""


def _start(settings: Settings, image: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _IN_A_PROCESS,
            str(settings.instance_dir),
            str(settings.models_dir),
            str(image),
            how,
        ],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _go(process: subprocess.Popen[str]) -> tuple[str, int]:
    told, _ = process.communicate("\n", timeout=60)
    return told.strip(), process.returncode


def test_two_processes_with_the_same_upload_make_one_analysis(
    make_user: MakeUser, smear: bytes, settings: Settings, tmp_path: Path
) -> None:
    make_user()
    image = tmp_path / "field.jpg"
    image.write_bytes(smear)
    workers = [_start(settings, image, "lives") for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    # Both are let go before either is waited for.
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    told = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert told[0] == told[1] != ""
    assert (_count(Analysis), _count(Case)) == (1, 1)
    assert audit.verify(db.session()) == []


def test_a_worker_killed_between_picture_and_row_leaves_no_row(
    make_user: MakeUser, smear: bytes, settings: Settings, tmp_path: Path
) -> None:
    make_user()
    image = tmp_path / "field.jpg"
    image.write_bytes(smear)
    assert _go(_start(settings, image, "dies"))[1] == 9
    assert any(settings.blobs_dir.rglob("*")), "the pictures were there already"
    assert (_count(Analysis), _count(Case), _count(AuditEntry)) == (0, 0, 0)
    told, code = _go(_start(settings, image, "lives"))
    assert code == 0
    assert db.session.scalars(sa.select(Analysis.public_id)).one() in told


def test_serving_imports_nothing_heavy(settings: Settings) -> None:
    """TensorFlow trains; scikit-image and matplotlib would cost each worker a second."""
    script = (
        "import sys, app, utils.workflow.analyse, utils.web.start, utils.web.analyses\n"
        "import utils.networks.registry\n"
        "heavy = {'tensorflow', 'keras', 'skimage', 'matplotlib', 'sklearn', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


def test_a_jpeg_is_kept_without_a_second_loss(result: AnalysisResult, smear: bytes) -> None:
    from utils.workflow.pictures import encode_pictures

    kept = encode_pictures(result)
    assert kept.original_media_type == "image/jpeg"
    assert abs(len(kept.original) - len(smear)) < 1000
    assert len(encode_jpeg(result.decoded.pixels, quality=60)) < len(kept.original)
    assert kept.boundaries.startswith(b"\x89PNG")
