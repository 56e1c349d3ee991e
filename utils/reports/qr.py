"""The QR code of a report: the verification address, drawn as vectors so that it prints crisp."""

from __future__ import annotations

from urllib.parse import quote

import qrcode
from qrcode.constants import ERROR_CORRECT_M

from utils.reports.content import HASH_PREFIX_CHARACTERS


def verification_address(base_url: str, public_id: str, content_sha256: str) -> str:
    """Give the address that a report's QR code leads to.

    It holds an opaque identifier and the first 16 digits of the content hash, never a name.

    Parameters
    ----------
    base_url : str
        Where the site is reached from outside, with or without a slash at the end.
    """
    prefix = content_sha256[:HASH_PREFIX_CHARACTERS]
    return f"{base_url.rstrip('/')}/verify/{quote(public_id, safe='-_')}?h={prefix}"


def qr_modules(text: str) -> tuple[tuple[bool, ...], ...]:
    """Encode `text`; error correction M (15 %), without the quiet zone.

    Returns
    -------
    modules : (n, n) tuple of bool
        True is dark.
    """
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=0)
    code.add_data(text)
    code.make(fit=True)
    return tuple(tuple(bool(module) for module in row) for row in code.get_matrix())


def dark_runs(modules: tuple[tuple[bool, ...], ...]) -> list[tuple[int, int, int]]:
    """Merge dark modules that touch in a row: (row, first column, length).

    A run is drawn as one rectangle: fewer marks, and no hairline gaps between modules.
    """
    runs: list[tuple[int, int, int]] = []
    for row_number, row in enumerate(modules):
        column = 0
        while column < len(row):
            if not row[column]:
                column += 1
                continue
            start = column
            while column < len(row) and row[column]:
                column += 1
            runs.append((row_number, start, column - start))
    return runs
