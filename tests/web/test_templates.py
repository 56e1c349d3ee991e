"""The design system: what the policy forbids, what contrast demands, what the macros promise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from flask import Flask, render_template_string

from utils.settings import PROJECT_ROOT
from utils.web.markdown import render_markdown
from utils.workflow.wording import RESEARCH_USE_ONLY

TEMPLATES = sorted((PROJECT_ROOT / "templates").rglob("*.html"))
SHEETS = sorted((PROJECT_ROOT / "static" / "css").glob("*.css"))
BASE = (PROJECT_ROOT / "static" / "css" / "base.css").read_text(encoding="utf-8")
ICONS = PROJECT_ROOT / "static" / "img" / "icons.svg"


class Page(HTMLParser):
    """Elements of a page with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def render(app: Flask) -> Iterator[object]:
    """Render a piece of a template within a request."""

    def do(source: str, **context: object) -> str:
        with app.test_request_context("/login"):
            head = '{% import "_macros.html" as ui with context %}'
            return render_template_string(head + source, **context)

    return do


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+):\s*(#[0-9a-f]{6});", block))


def light() -> dict[str, str]:
    return tokens(BASE.split("@media (pointer: coarse)")[0])


def dark() -> dict[str, str]:
    return light() | tokens(BASE.split(':root[data-theme="dark"] {')[1].split("}")[0])


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, WCAG 2.2, 1.4.3."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_there_are_templates_and_sheets() -> None:
    assert len(TEMPLATES) > 10
    assert {"base.css", "components.css", "pages.css"} <= {path.name for path in SHEETS}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_nothing_that_the_policy_refuses(path: Path) -> None:
    source = re.sub(r"{#.*?#}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"<[^>]*\sstyle\s*=", source), "style attribute"
    assert not re.search(r"<style\b", source), "style element"
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", source), "event handler"
    assert "javascript:" not in source
    for script in re.findall(r"<script\b[^>]*>(.*?)</script>", source, flags=re.DOTALL):
        assert not script.strip(), "inline script"
    external = (
        r"<(?:script|link|img|iframe|source|use)\b[^>]*(?:src|href)\s*=\s*[\"'](?:https?:)?//"
    )
    assert not re.search(external, source), "something from elsewhere"


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_sheets_load_nothing_and_use_known_tokens(path: Path) -> None:
    sheet = path.read_text(encoding="utf-8")
    assert "@import" not in sheet
    assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", sheet)
    defined = {name for other in SHEETS for name in re.findall(r"(--[\w-]+)\s*:", _text(other))}
    used = set(re.findall(r"var\((--[\w-]+)", sheet))
    assert used <= defined, used - defined


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_icon_that_is_used_is_drawn() -> None:
    root = ElementTree.parse(ICONS).getroot()
    drawn = {element.get("id") for element in root}
    used: set[str] = set()
    for path in TEMPLATES:
        used |= set(re.findall(r"\bicon\(\"([\w-]+)\"", _text(path)))
        used |= set(re.findall(r"symbol=\"([\w-]+)\"", _text(path)))
        used |= set(re.findall(r"icons\.svg'\) }}#([\w-]+)", _text(path)))
    assert used
    assert used <= drawn, used - drawn


def test_dark_by_the_system_and_by_choice_are_the_same() -> None:
    by_system = BASE.split("@media (prefers-color-scheme: dark)")[1].split("}")[0]
    by_choice = BASE.split(':root[data-theme="dark"] {')[1].split("}")[0]
    assert tokens(by_system) == tokens(by_choice)
    assert len(tokens(by_choice)) >= 18


@pytest.mark.parametrize("theme", [light, dark], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"),
    [
        *[(ink, ground, 4.5) for ink in ("ink", "ink-soft", "ink-faint", "accent", "alert")
          for ground in ("paper", "surface", "sunk")],
        *[(ink, f"{ink}-wash", 4.5) for ink in ("accent", "alert", "caution", "ok")],
        *[("ink", f"{kind}-wash", 4.5) for kind in ("accent", "alert", "caution", "ok")],
        *[(ink, "paper", 4.5) for ink in ("caution", "ok", "accent-strong")],
        ("on-accent", "accent", 4.5),
        ("on-accent", "accent-strong", 4.5),
        # Borders of controls and the ring of the focus: WCAG 1.4.11.
        *[("rule-strong", ground, 3.0) for ground in ("paper", "surface")],
        *[("focus", ground, 3.0) for ground in ("paper", "surface", "sunk")],
    ],
)  # fmt: skip
def test_contrast(theme: object, ink: str, ground: str, least: float) -> None:
    colours = theme()  # type: ignore[operator]
    assert contrast(colours[ink], colours[ground]) >= least


def test_research_use_only_is_the_sentence_of_the_wording(render) -> None:  # type: ignore[no-untyped-def]
    assert RESEARCH_USE_ONLY in render("{{ ui.research_use_only() }}")


def test_a_field_ties_label_hint_and_error_together(render) -> None:  # type: ignore[no-untyped-def]
    page = Page(render('{{ ui.field("Name", "name", hint="As on reports.", error="Too long.") }}'))
    (control,) = page.all("input")
    (label,) = page.all("label")
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert label["for"] == control["id"]
    assert control["aria-invalid"] == "true"
    assert set(str(control["aria-describedby"]).split()) == {"f-name-hint", "f-name-error"} <= ids


def test_a_plain_field_describes_nothing(render) -> None:  # type: ignore[no-untyped-def]
    (control,) = Page(render('{{ ui.field("Name", "name") }}')).all("input")
    assert "aria-describedby" not in control
    assert "aria-invalid" not in control


def test_values_are_escaped_and_passwords_never_shown(render) -> None:  # type: ignore[no-untyped-def]
    shown = render('{{ ui.field("N", "n", value=value) }}', value='"><script>')
    assert "<script>" not in shown
    hidden = render('{{ ui.field("P", "p", "password", value="hunter2") }}')
    assert "hunter2" not in hidden


def test_probability_bars_draw_and_say_each_number(render) -> None:  # type: ignore[no-untyped-def]
    rows = [
        {"code": "Pre", "name": "Pre-B ALL", "probability": 0.8125, "colour": "#009E73", "top": 1},
        {"code": "Pro", "name": "Pro-B ALL", "probability": 0.0, "colour": "#CC79A7"},
    ]
    text = render("{{ ui.probability_bars(rows, threshold=0.6) }}", rows=rows)
    bars = [attrs for attrs in Page(text).all("rect") if attrs["class"] == "bars__value"]
    assert [bar["width"] for bar in bars] == ["81.25%", "0.00%"]
    assert [bar["fill"] for bar in bars] == ["#009E73", "#CC79A7"]
    assert "81.2" in text
    assert "style=" not in text


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("password_short", "password"),
        ("password_again", "password_again"),
        ("current_password", "current_password"),
        ("email_known", "email"),
        ("name", "name"),
        ("sign_in", ""),
    ],
)
def test_an_error_finds_its_field(render, code: str, place: str) -> None:  # type: ignore[no-untyped-def]
    error = {"code": code, "message": "…"}
    assert render("{{ ui.field_of(error) }}", error=error).strip() == place


def test_pager_without_neighbours_is_nothing(render) -> None:  # type: ignore[no-untyped-def]
    assert render("{{ ui.pager(none, none) }}").strip() == ""
    assert 'rel="next"' in render('{{ ui.pager("?after=1", none) }}')


# ---------------------------------------------------------------- model cards


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](https://example.org/pixel.png)",
        '<a href="javascript:alert(1)">x</a>',
        "[x](vbscript:alert(1))",
    ],
)
def test_a_card_cannot_bring_code_or_pictures(attack: str) -> None:
    page = Page(str(render_markdown(attack)))
    assert not page.all("script")
    assert not page.all("img")
    for link in page.all("a"):
        assert str(link["href"]).startswith("https://")
        assert set(link) == {"href"}


def test_a_card_keeps_its_text_and_tables_without_style() -> None:
    text = str(render_markdown("# Title\n\n| a | n |\n| --- | ---: |\n| *x* | 1 |\n"))
    assert "<h2>Title</h2>" in text
    assert "<em>x</em>" in text
    assert 'class="table__number"' in text
    assert "style=" not in text
