"""The tutor in a real browser: asked by keyboard alone, with and without scripts, and streamed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit
from tests.browsing import PHONE, serving, sign_in
from tests.tutor.language_server import language_server, says
from tests.web.axe import assert_accessible
from utils.records import TutorTurn

pytestmark = pytest.mark.browser

QUESTION = "How big is a promyelocyte?"


def ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")


def test_a_conversation_by_keyboard_alone(visit: Callable[..., Visit]) -> None:
    at = visit()
    at.enter()
    page = at.page
    page.goto(f"{at.address}/tutor")
    for _ in range(30):
        if page.evaluate("document.activeElement.id") == "question":
            break
        page.keyboard.press("Tab")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_url("**/tutor/conversations/*")
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".turn__list a").first).to_have_text("Promyelocyte: Size")

    page.focus("#question")
    page.keyboard.type("And its nucleus?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".turn").last.locator(".turn__list a").first).to_have_text(
        "Promyelocyte: Nucleus"
    )
    # The next question can be typed at once, and what was answered is read aloud.
    assert page.evaluate("document.activeElement.id") == "question"
    expect(page.locator("[data-ask-said]")).to_contain_text("nucleus")
    assert_accessible(page)

    page.keyboard.type("Does my son have leukaemia?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn--refused")).to_have_count(1)
    page.reload()
    expect(page.locator(".turn")).to_have_count(3)
    assert at.count(TutorTurn) == 3
    assert at.complaints == []


def test_a_passage_is_reached_and_read_on_a_phone(visit: Callable[..., Visit]) -> None:
    at = visit()
    at.enter()
    page = at.page
    page.set_viewport_size(PHONE)
    page.goto(f"{at.address}/tutor")
    assert_accessible(page)
    page.click("[data-example] >> nth=1")
    page.wait_for_url("**/tutor/conversations/*")
    page.click(".turn .cite")
    page.wait_for_url("**/tutor/topics/promyelocyte#size")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.locator("#size")).to_be_in_viewport()
    assert_accessible(page)


def test_a_server_that_is_away_loses_no_question(visit: Callable[..., Visit]) -> None:
    at = visit()
    at.enter()
    page = at.page
    page.goto(f"{at.address}/tutor")
    ask(page, QUESTION)
    page.wait_for_url("**/tutor/conversations/*")
    page.route("**/tutor/questions", lambda route: route.abort())
    ask(page, "What is a myelocyte?")
    expect(page.locator("[data-ask-fault]")).to_contain_text("still here")
    expect(page.locator("#question")).to_have_value("What is a myelocyte?")
    page.unroute("**/tutor/questions")
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(2)
    assert at.count(TutorTurn) == 2


def test_it_works_without_scripts(app: Flask, browser: Browser) -> None:
    with serving(app) as address:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        sign_in(page, address)
        page.goto(f"{address}/tutor")
        ask(page, QUESTION)
        page.wait_for_url("**/tutor/conversations/*")
        ask(page, "And its granules?")
        expect(page.locator(".turn")).to_have_count(2)
        page.click("text=Delete")
        page.wait_for_url("**/tutor")
        expect(page.locator(".talks__row")).to_have_count(0)
        context.close()


def test_sentences_appear_while_they_are_written(
    make_app: Callable[..., Flask], browser: Browser
) -> None:
    text = "It is a large cell [1]. Its nucleus is round [1]. Its mother is a queen [9]."
    with language_server(says(text, pause_s=0.08)) as (endpoint, _):
        app = make_app(tutor_endpoint=endpoint, tutor_network="small")
        with serving(app) as address:
            context = browser.new_context()
            page = context.new_page()
            sign_in(page, address)
            page.goto(f"{address}/tutor")
            ask(page, "What is a blast?")
            page.wait_for_url("**/tutor/conversations/*")
            ask(page, QUESTION)
            last = page.locator(".turn").last
            expect(last.locator(".turn__answer p").first).to_have_text("It is a large cell.")
            expect(last.locator(".turn__waits")).to_have_count(1)
            expect(last).to_contain_text("Written by the language network small")
            expect(last).not_to_contain_text("queen")
            expect(last.locator(".turn__waits")).to_have_count(0)
            context.close()
