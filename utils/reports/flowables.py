"""The report's own flowables: headings in a rail, bars, pictures, the QR code, writing lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable, Paragraph

from utils.reports.content import Figure
from utils.reports.fonts import REGULAR, printable
from utils.reports.qr import dark_runs, qr_modules
from utils.reports.theme import (
    ACCENT,
    BAR_QUIET,
    BAR_TRACK,
    DARK_MODULE,
    HAIRLINE,
    HAIRLINE_WIDTH,
    INK,
    MUTED,
    RAIL,
    paragraph,
)

# ISO/IEC 18004 asks for four modules of quiet zone around a QR code.
QUIET_MODULES = 4
SECTION_GAP = 14.0
LEAST_LEGEND_WIDTH = 110.0
HEADING_HEIGHT = 15.0


class Drawn(Flowable):  # type: ignore[misc]  # ReportLab has no types
    """Base of what this module draws."""


class RailHeading(Drawn):
    """A hairline across the page and a heading in the rail left of the body.

    The space above it is left out by ReportLab where the heading comes first on its page. It
    takes next to no height: with none at all, KeepTogether would not count that space.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.spaceBefore = SECTION_GAP
        self.text = text
        self.heading: Paragraph = paragraph(text, "rail")
        self.body_width = 0.0

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Take the width of the body and next to no height."""
        self.body_width = available_width
        return available_width, 0.1

    def draw(self) -> None:
        """Draw the line and the heading, and mark the place for the outline."""
        canvas: Any = self.canv
        canvas.setStrokeColor(HAIRLINE)
        canvas.setLineWidth(HAIRLINE_WIDTH)
        canvas.line(-RAIL, 6, self.body_width, 6)
        _, height = self.heading.wrap(RAIL - 12, 200)
        self.heading.drawOn(canvas, -RAIL, -height + 0.6)
        canvas.mark_section(self.text, canvas.absolutePosition(0, 18)[1])


class FullWidth(Drawn):
    """Let a flowable start in the rail, so that it has the whole width between the margins."""

    def __init__(self, inner: Flowable) -> None:
        super().__init__()
        self.inner = inner

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Measure the inner flowable at the whole width."""
        _, height = self.inner.wrapOn(self.canv, available_width + RAIL, available_height)
        return available_width, height

    def draw(self) -> None:
        """Draw the inner flowable from the left margin on."""
        self.inner.drawOn(self.canv, -RAIL, 0)


class FittedSection(Drawn):
    """A heading and a part below it at the whole width, smaller where the page has less room.

    Parameters
    ----------
    heading : str
    build : callable
        Makes the part for one of `sizes`.
    sizes : sequence of float
        Largest first. Where none fits, the largest goes to the next page.
    """

    def __init__(
        self, heading: str, build: Callable[[float], Flowable], sizes: Sequence[float]
    ) -> None:
        super().__init__()
        self.spaceBefore = SECTION_GAP
        self.heading = RailHeading(heading)
        self.build = build
        self.sizes = sizes

    def _height_at(self, size: float) -> float:
        self.part = self.build(size)
        _, height = self.part.wrapOn(self.canv, self.width + RAIL, 0xFFFFFF)
        return float(height) + HEADING_HEIGHT

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Take the largest size that the room allows."""
        self.width = available_width
        fits = (size for size in self.sizes if self._height_at(size) <= available_height)
        self.height = self._height_at(next(fits, self.sizes[0]))
        return self.width, self.height

    def draw(self) -> None:
        """Draw the heading, then the part below it."""
        self.heading.wrapOn(self.canv, self.width, self.height)
        self.heading.drawOn(self.canv, 0, self.height)
        self.part.drawOn(self.canv, -RAIL, 0)


class ProbabilityBar(Drawn):
    """A bar from 0 to 1, with a tick where the network starts to abstain."""

    def __init__(self, probability: float, *, strong: bool, tick: float | None) -> None:
        super().__init__()
        self.probability = min(1.0, max(0.0, probability))
        self.strong = strong
        self.tick = tick
        self.height = 6.0

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Take the whole width."""
        self.width = available_width
        return self.width, self.height

    def draw(self) -> None:
        """Draw the track, the bar and the tick."""
        canvas: Any = self.canv
        canvas.setFillColor(BAR_TRACK)
        canvas.rect(0, 0, self.width, self.height, stroke=0, fill=1)
        canvas.setFillColor(ACCENT if self.strong else BAR_QUIET)
        canvas.rect(0, 0, self.width * self.probability, self.height, stroke=0, fill=1)
        if self.tick is not None:
            canvas.setStrokeColor(INK)
            canvas.setLineWidth(0.7)
            canvas.line(self.width * self.tick, -2, self.width * self.tick, self.height + 2)


class Picture(Drawn):
    """A figure's picture within a box, aspect kept, a hairline around it."""

    def __init__(self, figure: Figure, most_height: float) -> None:
        super().__init__()
        self.figure = figure
        self.most_height = most_height

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Fit the picture into the width and the greatest height."""
        figure = self.figure
        scale = min(available_width / figure.width_px, self.most_height / figure.height_px)
        self.width, self.height = figure.width_px * scale, figure.height_px * scale
        return self.width, self.height

    def draw(self) -> None:
        """Draw the picture and its frame."""
        canvas: Any = self.canv
        picture = ImageReader(BytesIO(self.figure.jpeg))
        canvas.drawImage(picture, 0, 0, self.width, self.height)
        canvas.mark_opaque(self.width, self.height)
        canvas.setStrokeColor(HAIRLINE)
        canvas.setLineWidth(HAIRLINE_WIDTH)
        canvas.rect(0, 0, self.width, self.height, stroke=1, fill=0)


class Legend(Drawn):
    """The colour scale under a heatmap, low to high, with a word at each end."""

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        self.picture = picture
        self.figure = picture.figure

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Take the width of the picture above, but enough for the two words."""
        self.width = min(available_width, max(self.picture.width, LEAST_LEGEND_WIDTH))
        self.height = 15.0
        return self.width, self.height

    def draw(self) -> None:
        """Draw the steps of the scale and the two words."""
        canvas: Any = self.canv
        steps = self.figure.legend
        step = self.width / len(steps)
        for number, (red, green, blue) in enumerate(steps):
            canvas.setFillColorRGB(red / 255, green / 255, blue / 255)
            # Half a point of overlap hides the seams that viewers draw between neighbours.
            overlap = 0.5 if number + 1 < len(steps) else 0.0
            canvas.rect(number * step, 9.5, step + overlap, 4.5, stroke=0, fill=1)
        canvas.setFillColor(MUTED)
        canvas.setFont(REGULAR, 6.4)
        canvas.drawString(0, 2, printable(self.figure.legend_low))
        canvas.drawRightString(self.width, 2, printable(self.figure.legend_high))


class QrCode(Drawn):
    """A QR code as vectors, its quiet zone included, that can also be clicked."""

    def __init__(self, address: str, side: float) -> None:
        super().__init__()
        self.address = address
        self.width = self.height = side

    def draw(self) -> None:
        """Draw the dark modules on white and lay the link over them."""
        canvas: Any = self.canv
        modules = qr_modules(self.address)
        size = self.width / (len(modules) + 2 * QUIET_MODULES)
        # White first: the grey word across the page must not reach into the code.
        canvas.setFillColorRGB(1, 1, 1)
        canvas.rect(0, 0, self.width, self.height, stroke=0, fill=1)
        canvas.mark_opaque(self.width, self.height)
        canvas.setFillColor(DARK_MODULE)
        path = canvas.beginPath()
        for row, column, length in dark_runs(modules):
            path.rect(
                (column + QUIET_MODULES) * size,
                self.height - (row + 1 + QUIET_MODULES) * size,
                length * size,
                size,
            )
        canvas.drawPath(path, stroke=0, fill=1)
        canvas.linkURL(self.address, (0, 0, self.width, self.height), relative=1)


class WritingLines(Drawn):
    """Empty lines for the hand of the pathologist."""

    def __init__(self, count: int, spacing: float = 19.0) -> None:
        super().__init__()
        self.count = count
        self.spacing = spacing

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        """Take the whole width."""
        self.width, self.height = available_width, self.count * self.spacing
        return self.width, self.height

    def draw(self) -> None:
        """Draw the lines."""
        canvas: Any = self.canv
        canvas.setStrokeColor(HAIRLINE)
        canvas.setLineWidth(HAIRLINE_WIDTH)
        for number in range(self.count):
            canvas.line(0, number * self.spacing, self.width, number * self.spacing)


class TickBox(Drawn):
    """An empty box to tick, drawn rather than set: no glyph has quiet enough lines."""

    def __init__(self) -> None:
        super().__init__()
        self.width = self.height = 8.0

    def draw(self) -> None:
        """Draw the box."""
        canvas: Any = self.canv
        canvas.setStrokeColor(MUTED)
        canvas.setLineWidth(0.6)
        canvas.rect(0, 0, self.width, self.height, stroke=1, fill=0)
