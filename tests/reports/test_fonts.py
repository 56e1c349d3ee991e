"""The fonts: found without matplotlib being imported, and honest about what they lack."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.reports.fonts import REPLACEMENT, font_folder, printable, register_fonts


def test_matplotlib_is_not_imported():
    program = (
        "import sys; from utils.reports.pdf import render_report; "
        "from utils.reports.fonts import register_fonts; register_fonts(); "
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'tensorflow', 'flask')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_licence_of_the_fonts_lies_beside_them():
    assert (font_folder() / "LICENSE_DEJAVU").is_file()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        ("carriage\r\nreturn", "carriage\nreturn"),
        ("a\u00a0b\tc\u2003d", "a b c d"),
        ("so\u00adft\u200b", "soft"),
        ("bell\x07", f"bell{REPLACEMENT}"),
        ("turn\u202eed", f"turn{REPLACEMENT}ed"),
        ("日本", REPLACEMENT * 2),
        ("Ω-Ж-ł-ß-½-→-≥", "Ω-Ж-ł-ß-½-→-≥"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected


@given(st.text())
def test_printable_leaves_only_letters_that_the_fonts_have(text):
    shown = printable(text)
    assert all(letter == "\n" or ord(letter) in register_fonts() for letter in shown)
    assert printable(shown) == shown
