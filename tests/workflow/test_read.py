"""Reading the cells of a field: asked for with the upload, done once, by whoever survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.untrained import write_random_network
from tests.workflow.conftest import MakeUser
from utils.errors import NotFound
from utils.imaging.decode import decode, encode_png
from utils.imaging.morphometry import COLUMNS
from utils.imaging.preprocess import PreprocessSpec
from utils.imaging.synthesis import field
from utils.networks.registry import load_classifier
from utils.records import Analysis, Cell, Job, db
from utils.records.blobs import BlobStore
from utils.settings import Settings
from utils.workflow import cell_rows, job_states, jobs, read
from utils.workflow.analyse import analyse_image, store_analysis
from utils.workflow.job_states import Turn


@pytest.fixture(scope="module")
def picture() -> bytes:
    return encode_png(field(3, cells=11, touching_share=0.2).pixels)


@pytest.fixture
def analysis(picture: bytes, make_user: MakeUser, settings: Settings) -> Analysis:
    classifier = load_classifier(settings.models_dir, "all4")
    result = analyse_image(picture, classifier=classifier, settings=settings)
    return store_analysis(
        result, user=make_user(), upload_key="k" * 12, blobs=BlobStore(settings.blobs_dir)
    )


@pytest.fixture
def with_cell_network(settings: Settings, tmp_path: Path) -> Settings:
    spec = PreprocessSpec(input_px=64, cell_context=1.5)
    write_random_network(tmp_path / "own", name="marrow7", spec=spec)
    return settings.model_copy(update={"models_dir": tmp_path / "own"})


def claim() -> Turn:
    turn = job_states.claim(db.session, worker="host:1", kinds=[read.KIND])
    assert turn is not None
    return turn


def perform(settings: Settings, **values: Any) -> str:
    return jobs.perform(db.session, settings, claim(), **values)


def kept(analysis: Analysis) -> list[Cell]:
    db.session.expire_all()
    return read.list_cells(db.session(), analysis)


def test_an_upload_asks_for_its_cells_once(analysis: Analysis) -> None:
    job = read.newest_job(db.session(), analysis)
    assert job is not None
    assert (job.state, job.kind) == ("queued", read.KIND)
    again = read.ask_for_cells(db.session(), analysis, None)
    db.session.commit()
    assert again.public_id == job.public_id
    assert db.session.scalar(sa.select(sa.func.count(Job.id))) == 1


def test_cells_are_outlined_and_measured_without_a_cell_network(
    analysis: Analysis, settings: Settings
) -> None:
    assert perform(settings) == "done"
    cells = kept(analysis)
    assert [cell.number for cell in cells] == list(range(1, analysis.nuclei_count + 1))
    for cell in cells:
        top, left, bottom, right = cell.box
        assert top < cell.row_px < bottom
        assert left < cell.col_px < right
        assert len(cell.outline) >= 3
        assert cell.nucleus
        assert 0 < cell.measures["nc_ratio"] <= 1
        assert {column.name for column in COLUMNS} >= set(cell.measures)
        assert set(cell.field_evidence) <= set(analysis.probabilities)
        assert cell.network_name is None
        assert cell.code is None
        crop = decode(cell.crop, read.decode.Limits(max_bytes=10**6, max_pixels=10**6)).pixels
        assert crop.shape == (cell_rows.CROP_PX, cell_rows.CROP_PX, 3)


def test_cells_are_read_by_the_cell_network(
    analysis: Analysis, with_cell_network: Settings
) -> None:
    assert perform(with_cell_network) == "done"
    cells = kept(analysis)
    assert len(cells) == analysis.nuclei_count > read.BATCH
    for cell in cells:
        assert (cell.network_name, cell.network_version) == ("marrow7", "0-untrained")
        assert sum(cell.probabilities.values()) == pytest.approx(1.0)
        assert cell.code == cell.top_code == max(cell.probabilities, key=cell.probabilities.get)  # type: ignore[arg-type]
        assert cell.probability == pytest.approx(cell.probabilities[cell.code])
        assert np.frombuffer(cell.embedding, np.float16).size > 8


def test_a_second_turn_changes_nothing(analysis: Analysis, settings: Settings) -> None:
    perform(settings)
    before = [cell.public_id for cell in kept(analysis)]
    db.session.execute(sa.update(Job).values(state="queued", finished_at=None))
    db.session.commit()
    assert perform(settings) == "done"
    assert [cell.public_id for cell in kept(analysis)] == before


def test_a_newer_network_reads_again_and_once(
    analysis: Analysis, settings: Settings, with_cell_network: Settings
) -> None:
    perform(settings)
    assert read.can_read_again(kept(analysis), with_cell_network)
    assert not read.can_read_again(kept(analysis), settings)
    version = read.serving_version(with_cell_network)
    for _ in range(2):
        read.ask_for_cells(db.session(), analysis, None, version=version)
        db.session.commit()
    assert perform(with_cell_network) == "done"
    cells = kept(analysis)
    assert {cell.network_version for cell in cells} == {version}
    assert len(cells) == analysis.nuclei_count
    assert job_states.claim(db.session, worker="host:1", kinds=[read.KIND]) is None


@pytest.mark.parametrize("stops_at", [1, 5])
def test_a_worker_that_has_to_stop_leaves_no_cell(
    analysis: Analysis,
    settings: Settings,
    stops_at: int,
) -> None:
    asked = 0

    def must_return() -> bool:
        nonlocal asked
        asked += 1
        return asked > stops_at

    assert perform(settings, must_return=must_return) == "queued"
    assert kept(analysis) == []
    assert perform(settings) == "done"
    assert len(kept(analysis)) == analysis.nuclei_count


def test_a_lost_original_is_a_clear_end(analysis: Analysis, settings: Settings) -> None:
    BlobStore(settings.blobs_dir).path(analysis.original_sha256).unlink()
    assert perform(settings) == "failed"
    job = read.newest_job(db.session(), analysis)
    assert job is not None
    assert job.message.endswith(".")
    assert kept(analysis) == []
    # The key is free again: the person can ask once more.
    assert read.ask_for_cells(db.session(), analysis, None).public_id != job.public_id


def test_a_cell_that_is_not_there_is_not_found(analysis: Analysis) -> None:
    with pytest.raises(NotFound):
        read.find_cell(db.session(), analysis, 1)
