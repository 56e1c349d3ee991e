"""The laboratory in a browser: a small training watched, paused, gone on with, sampled."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests import job_kinds
from tests.browser.conftest import Visit
from tests.drawn_set import write_drawn_set
from tests.ops.test_worker import POLLING
from utils.settings import PROJECT_ROOT, Settings

pytestmark = pytest.mark.slow
LONG_MS = 240_000


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: nothing is trained")
    folder = write_drawn_set(tmp_path / "datasets" / "drawn", {"Benign": 100, "Pre": 160})
    return settings.model_copy(update={"datasets_dir": folder.parent})


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def worker(settings: Settings, app: Flask, tmp_path: Path) -> Iterator[None]:
    command = job_kinds.command(settings, **POLLING, datasets_dir=str(settings.datasets_dir))
    with (tmp_path / "worker.log").open("wb") as sink:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=sink, stderr=sink)
    yield
    process.kill()
    process.wait()


@pytest.mark.usefixtures("worker")
def test_a_training_is_watched_paused_and_gone_on_with(visit: Callable[..., Visit]) -> None:
    person = visit()
    person.enter()
    page = person.page
    page.goto(f"{person.address}/networks")
    page.get_by_role("link", name="Synthetic fields").click()
    assert page.get_by_text("+60").is_visible()
    page.get_by_label("Preset").select_option("smoke")
    page.get_by_label("Epochs").fill("30")
    page.get_by_role("button", name="Start the training").click()

    curve = page.locator('[data-curve="generator"]')
    page.locator("[data-run-curves]").wait_for(state="visible", timeout=LONG_MS)
    first = curve.get_attribute("points")
    page.wait_for_timeout(4000)
    assert curve.get_attribute("points") != first
    sheet = page.get_by_alt_text("Synthetic pictures, a row for each class")
    assert sheet.evaluate("image => image.naturalWidth") > 100

    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused").wait_for()
    done = int(page.locator("[data-run-epochs]").inner_text())
    assert 2 <= done < 30
    page.get_by_role("button", name="Go on").click()
    draw = page.get_by_role("button", name="Draw pictures")
    draw.wait_for(timeout=LONG_MS)
    assert page.locator("[data-run-epochs]").inner_text() == "30"

    page.get_by_label("Class").select_option("Pre")
    page.get_by_label("Number").fill("20")
    draw.click()
    pictures = page.get_by_alt_text("Synthetic field")
    pictures.first.wait_for(timeout=LONG_MS)
    assert pictures.count() == 12
    assert page.get_by_text("Synthetic", exact=True).first.is_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="All of them as a zip file").click()
    assert download.value.suggested_filename.startswith("synthetic-Pre-")
    assert person.complaints == []
