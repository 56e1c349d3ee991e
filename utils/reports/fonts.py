"""DejaVu Sans for the PDF: embedded, so that Latin, Greek and Cyrillic names print right.

The font files come out of the installed matplotlib package, found without importing it
(matplotlib must not be loaded in the web process; nothing is committed here).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from reportlab import rl_config
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from utils.errors import StorageFailed

REGULAR = "MarrowSans"
BOLD = "MarrowSans-Bold"
OBLIQUE = "MarrowSans-Oblique"
_FILES = {
    REGULAR: "DejaVuSans.ttf",
    BOLD: "DejaVuSans-Bold.ttf",
    OBLIQUE: "DejaVuSans-Oblique.ttf",
}
REPLACEMENT = "\ufffd"
# Soft hyphen, zero-width space, byte-order mark: invisible by definition, so nothing is lost.
_INVISIBLE = {0x00AD, 0x200B, 0xFEFF}
# Scripts that run right to left need shaping that this layout does not do: printed letter by
# letter they would read wrongly, which is worse than a mark that says "not printable here".
_RIGHT_TO_LEFT = {"R", "AL", "AN"}


def font_folder() -> Path:
    """Find the folder of the DejaVu fonts.

    Raises
    ------
    StorageFailed
        If matplotlib, which carries the fonts, is not installed.
    """
    spec = find_spec("matplotlib")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "mpl-data" / "fonts" / "ttf"
        if all((folder / name).is_file() for name in _FILES.values()):
            return folder
    raise StorageFailed(
        "The fonts of the report were expected in the installed matplotlib package; "
        "none were found.",
        code="fonts_missing",
    )


@lru_cache(maxsize=1)
def register_fonts() -> frozenset[int]:
    """Register the fonts with ReportLab, once a process.

    Returns
    -------
    code_points : frozenset of int
        Those that every one of the fonts can print.
    """
    # Pictures as bytes, not as ASCII-85 text: a fifth smaller and half the time. ReportLab knows
    # this switch for the whole process only; nothing else here writes PDF.
    rl_config.useA85 = 0
    folder = font_folder()
    code_points: set[int] | None = None
    for name, file_name in _FILES.items():
        font = TTFont(name, str(folder / file_name))
        pdfmetrics.registerFont(font)
        glyphs = set(font.face.charToGlyph)
        code_points = glyphs if code_points is None else code_points & glyphs
    pdfmetrics.registerFontFamily(
        REGULAR, normal=REGULAR, bold=BOLD, italic=OBLIQUE, boldItalic=BOLD
    )
    return frozenset(code_points or ())


def printable(text: str) -> str:
    """Put `text` into letters that the fonts have; each that they lack becomes U+FFFD.

    Canonical composition first, so that a letter with a combining accent is found as one glyph.
    Line breaks stay, every other run of space characters becomes one space.
    """
    known = register_fonts()
    letters: list[str] = []
    for letter in unicodedata.normalize("NFC", text.replace("\r\n", "\n")):
        code_point = ord(letter)
        if code_point in _INVISIBLE:
            continue
        if letter == "\n" or letter == " ":
            letters.append(letter)
        elif letter.isspace():
            letters.append(" ")
        elif (
            code_point not in known
            or unicodedata.category(letter).startswith("C")
            or unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT
        ):
            letters.append(REPLACEMENT)
        else:
            letters.append(letter)
    return "".join(letters)
