"""Micrometres per pixel of a field by its own red cells, where nothing else says it.

A red cell is the haematologist's ruler: dried on a smear it is 7.2 µm wide in nearly everybody.
Those that lie free are looked for, by the stain that falls off all around them, and the median
of their diameters is the answer; where there are too few of them, or where they disagree, there
is none.

On the fields of `bccd` that played no part in choosing the numbers (odd ones, 128), 57 % get an
answer; it is 0.97 of the width of the boxes that people drew, median, and within 15 % of it in
96 % (boxes taken at 0.90, as wide as those of the white cells are beside their masks; 0.88 of the
bare boxes). All those fields are of one microscope, and 96 % of the answers lie within 10 % of
their common median. Tiles of one cell (`marrow7`, `wbc_masks`) get none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.imaging.nuclei import BoolImage, FloatImage, RGBImage, nucleus_mask, optical_density
from utils.imaging.outline import ellipse
from utils.imaging.scale import cell_radius_px, reduce

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Mean diameter of red cells on dried smears, and how far the means of healthy people lie from it
# (6.7 to 7.7 µm). In micro- and macrocytosis they lie farther: nobody can see that in a field.
RED_CELL_UM = 7.2
BETWEEN_PEOPLE = 0.07
# Radius at which the cells are looked at, pixels; smaller ones are enlarged, at most twice. No
# more than so many pixels are looked at: the middle of a large field holds cells enough.
GRID_RADIUS_PX, MOST_ENLARGED, MOST_PIXELS = 14.0, 2.0, 300_000
LEAST_RADIUS_PX = 4.0

# In radii of the field's cells (`cell_radius_px`, which on crowded fields is too small):
SMALLEST, LARGEST, RADIUS_STEP = 0.65, 1.6, 0.1
APART = 0.45  # between two centres
AROUND_NUCLEI = 0.3  # edges so near to a nucleus are not those of red cells
# Of the slopes of the stain, the steepest 30 % are edges, if they rise so much in a pixel.
STEEP, FLATTEST = 70.0, 0.01
# Share of a circle's edge that must point at its centre for a second look; how many are looked at.
LEAST_VOTES, MOST_CENTRES = 0.45, 120

# A cell's edge is looked for along so many rays, between these shares of the supposed radius.
RAYS, STEPS, NEAREST, FARTHEST = 48, 48, 0.55, 1.5
EXPECTED = 0.2  # how far from the supposed radius an edge is as good as on it
WEAKEST = 0.35  # an edge, in falls of the cell's median edge
# Beyond a free edge the stain falls below this share of the cell's own.
FREE = 0.5
OFF_LINE = 0.15  # of the radius: points farther from the first ellipse are left out of the second

# A red cell: so much of its edge is free and on an ellipse, this far off it (root mean square, in
# radii), so round, with so little of a nucleus in it, so much darker than the glass (density).
LEAST_FREE, MOST_UNEVEN, LEAST_ROUND, MOST_NUCLEUS, LEAST_STAIN = 0.6, 0.06, 0.7, 0.05, 0.06
# Ink is darker than any red cell.
MOST_STAIN = 0.9
TWICE = 0.5  # two ellipses nearer than this share of their diameter are one cell
# An answer rests on so many cells at least; those whose diameter is farther from the median than
# this share do not count; their median is known within so much, twice its standard error.
LEAST_CELLS, OUTLYING, LEAST_SURE = 5, 0.3, 0.12
# A few cells may agree by chance: red cells of healthy people vary by this share at least.
LEAST_DEVIATION = 0.06


@dataclass(frozen=True)
class RedCell:
    """The ellipse around one red cell, in pixels of the original.

    Attributes
    ----------
    row_px, col_px : float
        Its centre.
    axes_px : tuple of float
        Full lengths of its two axes.
    angle_deg : float
        By which the first axis is turned from the columns' direction, clockwise.
    """

    row_px: float
    col_px: float
    axes_px: tuple[float, float]
    angle_deg: float

    @property
    def diameter_px(self) -> float:
        """Diameter of the circle with the ellipse's area, pixels."""
        return math.sqrt(self.axes_px[0] * self.axes_px[1])


@dataclass(frozen=True)
class PixelSize:
    """How large a pixel is, by red cells.

    Attributes
    ----------
    um_per_px : float
        Micrometres per pixel of the original.
    spread : float
        Half the width of the interval that holds the true value 19 times out of 20 in people
        whose red cells are of normal size, as a share of `um_per_px`.
    red_cells : int
        Number of cells that it rests on.
    diameter_px : float
        Their median diameter, pixels.
    """

    um_per_px: float
    spread: float
    red_cells: int
    diameter_px: float


def estimate_pixel_size(pixels: RGBImage, *, cell_px: float | None = None) -> PixelSize | None:
    """Estimate the size of a pixel from the red cells that lie free.

    The spread joins what the field's own cells leave open (twice the standard error of their
    median) and what nobody can see in a field: how far a healthy person's mean is from 7.2 µm.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    cell_px : float, optional
        `scale.cell_radius_px` of `pixels`, where it is known.

    Returns
    -------
    size : PixelSize or None
        None where fewer than `LEAST_CELLS` red cells lie free, or where they differ so much
        that their median says little: crowded fields, tiles of one cell, fields without any.

    References
    ----------
    .. [1] Price-Jones (1933), Red Blood Cell Diameters, Oxford University Press: on dried films
       the mean of healthy people is 7.2 µm, 6.7 to 7.7.
    """
    diameters = np.array([cell.diameter_px for cell in find_red_cells(pixels, cell_px=cell_px)])
    if diameters.size < LEAST_CELLS:
        return None
    alike = np.abs(diameters / np.median(diameters) - 1.0) <= OUTLYING
    diameters = diameters[alike]
    if diameters.size < LEAST_CELLS:
        return None
    middle = float(np.median(diameters))
    deviation = 1.4826 * float(np.median(np.abs(diameters - middle))) / middle
    # A median's standard error is 1.25 of a mean's.
    unsure = 2.0 * 1.2533 * max(deviation, LEAST_DEVIATION) / math.sqrt(diameters.size)
    if unsure > LEAST_SURE:
        return None
    return PixelSize(
        um_per_px=RED_CELL_UM / middle,
        spread=math.hypot(unsure, BETWEEN_PEOPLE),
        red_cells=int(diameters.size),
        diameter_px=middle,
    )


def find_red_cells(pixels: RGBImage, *, cell_px: float | None = None) -> list[RedCell]:
    """Find red cells whose edge is free for the most part.

    Each point of an edge votes for the centres that lie on the dark side of it; where many agree,
    the edge is read along rays, twice, the second time from the first ellipse's centre. The inner
    edge of the pallor falls the other way and plays no part.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB; not modified.
    cell_px : float, optional
        `scale.cell_radius_px` of `pixels`, where it is known.

    Returns
    -------
    cells : list of RedCell
        The clearest first; in a large field only those of its middle.

    References
    ----------
    .. [1] Loy and Zelinsky (2003), doi:10.1109/TPAMI.2003.1217601 (radial symmetry).
    .. [2] Fitzgibbon, Pilu and Fisher (1999), doi:10.1109/34.765658 (ellipses).
    """
    radius = cell_radius_px(pixels) if cell_px is None else cell_px
    if radius < LEAST_RADIUS_PX:
        return []
    zoom = min(MOST_ENLARGED, GRID_RADIUS_PX / radius)
    top, left, part = _middle(pixels, zoom)
    work = _resized(part, zoom)
    density = optical_density(work).max(axis=2)
    stain = np.asarray(cv2.GaussianBlur(density, (0, 0), 1.0), np.float32)
    nuclei = nucleus_mask(work)
    places = _centres(stain, nuclei, radius * zoom)
    if not len(places):
        return []
    rays = _read_rays(stain, places)
    places = _moved(
        places, [_fit(rays, number, rays.fall[number] > 0.0) for number in range(len(places))]
    )
    if not len(places):
        return []
    rays = _read_rays(stain, places)
    found = _accepted(rays, nuclei)
    # Exact, because both sides were rounded when the picture was resized.
    across, down = part.shape[1] / work.shape[1], part.shape[0] / work.shape[0]
    return [
        RedCell(
            row_px=(line.row + 0.5) * down - 0.5 + top,
            col_px=(line.col + 0.5) * across - 0.5 + left,
            axes_px=(line.axes[0] * across, line.axes[1] * across),
            angle_deg=line.angle_deg,
        )
        for line in found
    ]


@dataclass(frozen=True)
class _Ellipse:
    """In pixels of the working copy; `unevenness` is each point's distance in radii."""

    row: float
    col: float
    axes: tuple[float, float]
    angle_deg: float
    unevenness: Numbers

    @property
    def diameter(self) -> float:
        return math.sqrt(self.axes[0] * self.axes[1])


@dataclass(frozen=True)
class _Rays:
    """The edge around n centres along `RAYS` rays: (n, RAYS), distances in working pixels."""

    centres: Numbers
    edge: Numbers
    fall: Numbers
    stain: Numbers
    free: Flags


def _middle(pixels: RGBImage, zoom: float) -> tuple[int, int, RGBImage]:
    """The middle of a picture that has more pixels than are looked at; its top and left."""
    height, width = pixels.shape[:2]
    share = min(1.0, math.sqrt(MOST_PIXELS / (height * width * zoom**2)))
    rows, cols = math.ceil(height * share), math.ceil(width * share)
    top, left = (height - rows) // 2, (width - cols) // 2
    return top, left, np.ascontiguousarray(pixels[top : top + rows, left : left + cols])


def _resized(pixels: RGBImage, zoom: float) -> RGBImage:
    if zoom <= 1.0:
        return reduce(pixels, zoom)
    size = (round(pixels.shape[1] * zoom), round(pixels.shape[0] * zoom))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _centres(stain: FloatImage, nuclei: BoolImage, radius: float) -> Numbers:
    """Row, column and radius where circles may be, the surest first, (n, 3)."""
    right = cv2.Sobel(stain, cv2.CV_32F, 1, 0, scale=0.125)
    down = cv2.Sobel(stain, cv2.CV_32F, 0, 1, scale=0.125)
    slope = cv2.magnitude(right, down)
    reach = ellipse(max(1, round(AROUND_NUCLEI * radius)))
    away = cv2.dilate(nuclei.astype(np.uint8), reach) == 0
    if not away.any():
        return np.zeros((0, 3))
    edges = away & (slope > max(FLATTEST, float(np.percentile(slope[away], STEEP))))
    rows, cols = np.nonzero(edges)
    across, along = right[edges] / slope[edges], down[edges] / slope[edges]
    height, width = stain.shape
    votes, radii = np.zeros_like(stain), np.zeros_like(stain)
    for supposed in np.arange(SMALLEST, LARGEST + 0.01, RADIUS_STEP) * radius:
        x = np.rint(cols + across * supposed).astype(np.int64)
        y = np.rint(rows + along * supposed).astype(np.int64)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        cast = np.bincount((y * width + x)[inside], minlength=height * width)
        sigma = max(1.0, 0.12 * supposed)
        here = cv2.GaussianBlur(cast.reshape(height, width).astype(np.float32), (0, 0), sigma)
        here *= sigma**2 / supposed  # 1 where a whole circle one pixel wide agrees
        higher = here > votes
        votes[higher], radii[higher] = here[higher], supposed
    peaks = votes >= cv2.dilate(votes, ellipse(max(1, round(APART * radius))))
    rows, cols = np.nonzero(peaks & (votes > LEAST_VOTES))
    order = np.argsort(-votes[rows, cols], kind="stable")[:MOST_CENTRES]
    rows, cols = rows[order], cols[order]
    return np.stack([rows, cols, radii[rows, cols]], axis=1).astype(np.float64)


def _read_rays(stain: FloatImage, places: Numbers) -> _Rays:
    """Where the stain falls most along each ray, and whether there is glass beyond."""
    angles = np.arange(RAYS) * (2.0 * math.pi / RAYS)
    shares = np.linspace(NEAREST, FARTHEST, STEPS)
    reach = places[:, 2, None, None] * shares
    x = places[:, 1, None, None] + reach * np.cos(angles)[:, None]
    y = places[:, 0, None, None] + reach * np.sin(angles)[:, None]
    flat = (len(places) * RAYS, STEPS)
    along = cv2.remap(
        stain,
        x.reshape(flat).astype(np.float32),
        y.reshape(flat).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    fall = np.zeros(flat, np.float32)
    fall[:, 3:-3] = along[:, :-6] - along[:, 6:]
    near = np.exp(-((shares - 1.0) ** 2) / (2.0 * EXPECTED**2)).astype(np.float32)
    step = (fall * near).argmax(axis=1)
    ray = np.arange(len(step))
    at = shares[step][:, None]
    within = (shares <= at) & (shares >= 0.7 * at)
    beyond = (shares >= at) & (shares <= 1.22 * at)
    own = np.where(within, along, 0.0).max(axis=1)
    lowest = np.where(beyond, along, np.inf).min(axis=1)
    x, y = x.reshape(flat)[ray, step], y.reshape(flat)[ray, step]
    height, width = stain.shape
    seen = (x >= 1) & (y >= 1) & (x <= width - 2) & (y <= height - 2)
    shape = (len(places), RAYS)
    return _Rays(
        centres=places[:, :2],
        edge=(shares[step]).reshape(shape) * places[:, 2, None],
        fall=fall[ray, step].astype(np.float64).reshape(shape),
        stain=own.astype(np.float64).reshape(shape),
        free=(seen & (lowest < FREE * own)).reshape(shape),
    )


def _fit(rays: _Rays, number: int, good: Flags) -> _Ellipse | None:
    """The ellipse through the free points of one edge; None where there is none."""
    angles = np.arange(RAYS) * (2.0 * math.pi / RAYS)
    good = good & rays.free[number]
    if np.count_nonzero(good) < RAYS // 4:
        return None
    row, col = rays.centres[number]
    edge = rays.edge[number]
    points = np.stack([col + edge * np.cos(angles), row + edge * np.sin(angles)], axis=1)
    (x, y), axes, angle = cv2.fitEllipseDirect(points[good].astype(np.float32))
    if not all(map(math.isfinite, (x, y, *axes))) or min(axes) <= 0.0:
        return None
    turn = math.radians(angle)
    offset = points - (x, y)
    first = offset[:, 0] * math.cos(turn) + offset[:, 1] * math.sin(turn)
    second = offset[:, 1] * math.cos(turn) - offset[:, 0] * math.sin(turn)
    distance = np.hypot(first / (axes[0] / 2.0), second / (axes[1] / 2.0)) - 1.0
    return _Ellipse(y, x, (axes[0], axes[1]), angle, distance)


def _moved(places: Numbers, lines: list[_Ellipse | None]) -> Numbers:
    """The places again, each in the middle of its ellipse; without those that found none."""
    moved = [
        (line.row, line.col, line.diameter / 2.0)
        for (row, col, radius), line in zip(places.tolist(), lines, strict=True)
        if line is not None
        and math.hypot(line.row - row, line.col - col) <= SMALLEST * radius
        and SMALLEST <= line.diameter / 2.0 / radius <= LARGEST
    ]
    return np.array(moved).reshape(-1, 3)


def _accepted(rays: _Rays, nuclei: BoolImage) -> list[_Ellipse]:
    """Ellipses that are red cells, the clearest first, each cell once."""
    typical = float(np.median(rays.fall))
    clear: list[tuple[float, _Ellipse]] = []
    for number in range(len(rays.centres)):
        strong = rays.fall[number] > WEAKEST * max(float(np.median(rays.fall[number])), typical / 2)
        line = _fit(rays, number, strong)
        if line is None:
            continue
        on_line = strong & rays.free[number] & (np.abs(line.unevenness) < OFF_LINE)
        line = _fit(rays, number, on_line)
        if line is None:
            continue
        unevenness = float(np.sqrt(np.mean(line.unevenness[on_line] ** 2)))
        share = float(np.mean(on_line))
        if (
            share >= LEAST_FREE
            and unevenness <= MOST_UNEVEN
            and min(line.axes) >= LEAST_ROUND * max(line.axes)
            and LEAST_STAIN <= float(np.median(rays.stain[number])) <= MOST_STAIN
            and _nuclear_share(line, nuclei) <= MOST_NUCLEUS
        ):
            clear.append((share - 3.0 * unevenness, line))
    kept: list[_Ellipse] = []
    for _, line in sorted(clear, key=lambda one: -one[0]):
        if all(
            math.hypot(line.row - other.row, line.col - other.col)
            > TWICE * (line.diameter + other.diameter) / 2.0
            for other in kept
        ):
            kept.append(line)
    return kept


def _nuclear_share(line: _Ellipse, nuclei: BoolImage) -> float:
    """How much of the disc of an ellipse's size is nucleus."""
    radius = line.diameter / 2.0
    top, left = max(0, math.floor(line.row - radius)), max(0, math.floor(line.col - radius))
    part = nuclei[top : math.ceil(line.row + radius) + 1, left : math.ceil(line.col + radius) + 1]
    rows = np.arange(part.shape[0])[:, None] + top - line.row
    cols = np.arange(part.shape[1])[None] + left - line.col
    disc = np.hypot(rows, cols) <= radius
    return float(part[disc].mean()) if disc.any() else 1.0
