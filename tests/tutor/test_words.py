"""Words: one spelling for what is written in many, and misspelt ones put right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.tutor import words

LETTERS = st.text("abc", max_size=5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("N:C ratio", "nc ratio"),
        ("n/c", "N:C"),
        ("M:E", "myeloid to erythroid"),
        ("Grad-CAM", "gradcam"),
        ("leukemia", "leukaemia"),
        ("hematogones", "Haematogone"),
        ("nuclei", "nucleus"),
        ("artifacts", "artefact"),
        ("20 %", "20%"),
        ("CD 10", "cd10"),
        ("µm", "um"),
        ("färbung", "staining"),
        ("lymphocytes", "lymphocyte"),
        ("biopsies", "biopsy"),
    ],
)
def test_two_spellings_are_one(one: str, other: str) -> None:
    assert words.content_words(one) == words.content_words(other) != []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("promyelocite", "promyelocyte"),
        ("promyeolcyte", "promyelocyte"),
        ("mylocyte", "myelocyte"),
        ("monocite", "monocyte"),
        ("table", None),
        ("cat", None),
        ("12345", None),
    ],
)
def test_a_misspelt_word_is_put_right(typed: str, meant: str | None) -> None:
    known = ("promyelocyte", "myelocyte", "monocyte", "monoblast", "cytoplasm")
    assert words.nearest(typed, known) == meant


@given(LETTERS, LETTERS)
def test_the_distance_is_that_of_the_plain_definition(a: str, b: str) -> None:
    assert words.edits(a, b, 99) == _slow(a, b) == words.edits(b, a, 99)


@given(LETTERS, LETTERS)
def test_a_distance_over_the_limit_is_over_the_limit(a: str, b: str) -> None:
    exact = _slow(a, b)
    assert words.edits(a, b, 1) == exact if exact <= 1 else words.edits(a, b, 1) > 1


def _slow(a: str, b: str) -> int:
    """Optimal string alignment, by its recursion."""
    if not a or not b:
        return len(a) + len(b)
    best = min(_slow(a[:-1], b) + 1, _slow(a, b[:-1]) + 1, _slow(a[:-1], b[:-1]) + (a[-1] != b[-1]))
    if len(a) > 1 and len(b) > 1 and a[-1] == b[-2] and a[-2] == b[-1]:
        best = min(best, _slow(a[:-2], b[:-2]) + 1)
    return best
