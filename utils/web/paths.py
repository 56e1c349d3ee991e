"""Outlines as SVG draws them."""

from __future__ import annotations

from collections.abc import Sequence


def smooth_path(corners: Sequence[Sequence[float]]) -> str:
    """Close a curve through all corners (Catmull-Rom, written as cubic Béziers).

    The corners are those of the stored polygon; straight lines between them would look like a
    measurement that nobody made.
    """
    count = len(corners)
    pieces = [f"M{corners[0][0]:g} {corners[0][1]:g}"]
    for place in range(count):
        before, start, end, after = (corners[(place + step) % count] for step in (-1, 0, 1, 2))
        first = [s + (e - b) / 6 for b, s, e in zip(before, start, end, strict=True)]
        second = [e - (a - s) / 6 for s, e, a in zip(start, end, after, strict=True)]
        pieces.append("C" + " ".join(f"{value:.1f}" for value in (*first, *second, *end)))
    return "".join(pieces) + "Z"
