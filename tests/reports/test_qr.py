"""The QR code: opaque, readable, nothing lost when modules are merged into runs."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from utils.reports.qr import dark_runs, qr_modules, verification_address

ADDRESS = verification_address("https://marrow.example.org/", "Zk3v0dPq8yQm1x2T9aBcDw", "ab" * 32)


def test_address_holds_an_identifier_and_the_start_of_the_hash():
    assert ADDRESS == "https://marrow.example.org/verify/Zk3v0dPq8yQm1x2T9aBcDw?h=abababababababab"


def test_address_keeps_a_path_and_escapes_what_is_no_identifier():
    address = verification_address("http://127.0.0.1:8000/marrow", "a b/../c", "00" * 32)
    assert address == "http://127.0.0.1:8000/marrow/verify/a%20b%2F..%2Fc?h=0000000000000000"


@pytest.mark.parametrize("text", [ADDRESS, "http://127.0.0.1:8000/verify/x?h=0123456789abcdef"])
def test_drawn_code_can_be_read(text):
    modules = qr_modules(text)
    paper = np.full((len(modules) + 8, len(modules) + 8), 255, np.uint8)
    for row, column, length in dark_runs(modules):
        paper[row + 4, column + 4 : column + 4 + length] = 0
    large = cv2.resize(paper, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    read, _, _ = cv2.QRCodeDetector().detectAndDecode(large)
    assert read == text


def test_runs_are_the_modules():
    modules = qr_modules(ADDRESS)
    runs = dark_runs(modules)
    assert sum(length for *_, length in runs) == sum(map(sum, modules))
    # Neighbouring runs of a row do not touch, else they were one.
    for (row, start, length), (next_row, next_start, _) in pairwise(runs):
        assert next_row > row or next_start > start + length
