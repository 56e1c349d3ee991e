"""The plain pages in a real browser: axe, width of a phone, both themes, without JavaScript."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page

from app import create_app
from tests.browsing import DESK, PHONE, serving, sign_in
from tests.conftest import close_app, make_settings
from tests.web.axe import assert_accessible
from utils.records import db
from utils.settings import PROJECT_ROOT
from utils.web.services import services
from utils.workflow import cell_rows, job_states, jobs, read

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
PUBLIC = ("/login", "/register", "/about", "/verify/unknown")
OWN = ("/analyses", "/analyses?q=nothing", "/networks", "/networks/all4/0-untrained", "/account")
ADMINISTRATION = ("/admin/users", "/admin/audit")
FAULTS = ("/nowhere", "/networks/all4/none")


@pytest.fixture
def app(tmp_path: Path, models_dir: Path) -> Iterator[Flask]:
    """An application that also shows the page of the network that this project ships."""
    models = tmp_path / "models"
    shutil.copytree(models_dir, models)
    for folder in _shipped():
        ignored = shutil.ignore_patterns("*.onnx", "split.json")
        shutil.copytree(folder, models / "all4" / folder.name, ignore=ignored)
    application = create_app(make_settings(tmp_path / "instance", models))
    yield application
    close_app(application)


def _shipped() -> list[Path]:
    return [path.parent for path in (PROJECT_ROOT / "models" / "all4").glob("*/metrics.json")]


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """The application behind a real socket."""
    with serving(app) as address:
        yield address


def complaints(context: BrowserContext) -> list[str]:
    """Collect what the browser's console says of refused styles and scripts."""
    said: list[str] = []
    context.on(
        "console",
        lambda message: said.append(message.text) if "Content Security" in message.text else None,
    )
    return said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_are_accessible(
    browser: Browser, address: str, scheme: str, viewport: dict[str, int]
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    said = complaints(context)
    page = context.new_page()
    visited = 0
    for path in PUBLIC:
        visited += _look(page, address + path)
    sign_in(page, address)
    shipped = [f"/networks/all4/{folder.name}" for folder in _shipped()]
    for path in (*OWN, *shipped, *ADMINISTRATION, *FAULTS):
        visited += _look(page, address + path)
    context.close()
    assert visited == len(PUBLIC) + len(OWN) + len(shipped) + len(ADMINISTRATION) + len(FAULTS)
    assert said == []


def _look(page: Page, address: str) -> int:
    page.goto(address)
    assert_accessible(page, strict=True)
    wide, shown = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= shown, f"{address} scrolls sideways: {wide} px in {shown} px"
    return 1


def test_theme_is_remembered_by_the_server(browser: Browser, address: str) -> None:
    context = browser.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(f"{address}/login")
    light = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    page.click("[data-theme-menu] summary")
    page.check("[data-theme-choice][value=dark]")
    dark = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    assert dark != light
    page.goto(f"{address}/about")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.click("[data-theme-menu] summary")
    page.check("[data-theme-choice][value=system]")
    page.reload()
    assert page.get_attribute("html", "data-theme") is None
    context.close()


def test_forms_and_menus_work_without_javascript(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, address)
    assert page.is_hidden("[data-theme-menu]")
    page.goto(f"{address}/analyses")
    page.click(".masthead details:has([action='/logout']) summary")
    page.click("text=Sign out")
    page.wait_for_url(f"{address}/login")
    context.close()


def test_menu_closes_on_escape_and_gives_the_focus_back(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, address)
    summary = page.locator(".masthead details:has([action='/logout']) summary")
    summary.click()
    page.locator("text=Your account").focus()
    page.keyboard.press("Escape")
    assert page.is_hidden("text=Your account")
    assert summary.evaluate("element => element === document.activeElement")
    context.close()


def test_skip_link_is_the_first_stop(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/about")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_cells_arrive_while_the_page_is_open(
    browser: Browser,
    app: Flask,
    address: str,
    smear: bytes,
    scheme: str,
    viewport: dict[str, int],
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    said = complaints(context)
    page = context.new_page()
    sign_in(page, address)
    page.set_input_files(
        "input[type=file]", {"name": "field.jpg", "mimeType": "image/jpeg", "buffer": smear}
    )
    page.wait_for_url("**/analyses/**")
    assert page.inner_text("[data-cells-say] p") == "The cells wait to be read."
    assert_accessible(page, strict=True)
    field = page.url
    with app.app_context():
        turn = job_states.claim(db.session, worker="host:1", kinds=[read.KIND])
        assert turn is not None
        assert jobs.perform(db.session, services().settings, turn) == "done"
    # The page finds out by itself; nobody reloads it.
    page.wait_for_selector(".cells__gallery", timeout=15_000)
    assert page.url == field
    cell = page.locator(".cells__cell").first
    cell.scroll_into_view_if_needed()
    picture = cell.locator("img")
    picture.evaluate("image => image.decode()")
    assert picture.evaluate("image => image.naturalWidth") == cell_rows.CROP_PX
    assert_accessible(page, strict=True)
    page.locator(".cells__facts").first.click()
    page.wait_for_url("**/cells/1")
    assert _look(page, page.url) == 1
    assert page.inner_text("h1") == "Cell 1"
    context.close()
    assert said == []
