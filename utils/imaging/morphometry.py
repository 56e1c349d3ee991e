"""What a pathologist would measure on one cell: size, shape, lobes, chromatin, cytoplasm.

Everything is measured in the window of the cell's outline, at its zoom, so that the cost does not
grow with magnification; lengths are given in pixels of the original. Lengths within the window
(rim, grain) are shares of the cell's diameter, so that magnification does not change a texture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.errors import InvalidImage, InvalidInput
from utils.imaging import measures
from utils.imaging.nuclei import BoolImage, FloatImage, RGBImage, white_point
from utils.imaging.outline import CellOutline
from utils.imaging.scale import distance_map

# Shares of the cell's diameter: what is taken off the rim of nucleus and cytoplasm before their
# texture is read, because the optics blur one into the other (as much as in `outline`; with half
# of it, a lymphocyte's narrow cytoplasm seems more granular than a neutrophil's); and the grain
# of chromatin and granules, about half a micrometre.
RIM, GRAIN = 0.04, 0.04
# Where less than this share of a region is left without its rim, all of it is read.
LEAST_CORE = 0.1
# Density is ln of the white point over the level, both raised by this, as in `nuclei`.
DARK_OFFSET = 4.0


class Column(NamedTuple):
    """One measurement as a table shows it.

    Attributes
    ----------
    name : str
        Attribute of `Morphometry`.
    header : str
        With its unit.
    definition : str
        One sentence.
    """

    name: str
    header: str
    definition: str


@dataclass(frozen=True)
class Morphometry:
    """Measurements of one cell; None for what has no pixels or no scale.

    "px" are pixels of the original. Densities are natural optical densities of the camera's
    values against the white background; they compare cells of one slide and scanner.

    Attributes
    ----------
    um_per_px : float or None
        Micrometres per pixel of the original, as it was given.
    cell_area_px, nucleus_area_px : float
        Area of the whole cell and of its nucleus, pixels.
    nc_ratio : float
        Nucleus area over cell area, 0 to 1 (not over the area of the cytoplasm).
    equivalent_diameter_px, nucleus_diameter_px : float
        Diameter of the circle with the area of the cell, or of the nucleus, pixels.
    cell_circularity : float
        4 pi A / P^2, at most 1 (a disc) [1]_; P by Crofton's formula in four directions [2]_.
        Of the part in view where the picture cuts the cell.
    nucleus_circularity : float or None
        The same for the nucleus; separate parts add up their areas and their perimeters.
    nucleus_solidity : float or None
        Nucleus pixels over the pixels of their convex hull, up to 1.
    nucleus_eccentricity : float or None
        Of the ellipse with the nucleus' second moments: 0 a circle, towards 1 a line.
    lobes : int
        Nuclear lobes; 1 for a round, indented or evenly curved nucleus, 0 where there is none.
        Lobes are peaks of the nucleus' inscribed radius. Two of them are parted where the neck
        between them is narrower than three quarters of the narrower one, or where nothing connects
        them (maxima above a relative h, as in [3]_; cf. [4]_). See `measures.count_lobes`.
    chromatin_entropy : float or None
        Shannon's entropy [5]_ of the green density inside the nucleus, bits: 0 (even) to 5.
        Over 32 levels of 1/16 of the nucleus' mean density, so that a stronger stain does not
        count as coarser chromatin.
    chromatin_contrast : float or None
        Haralick's contrast [6]_ on the same levels, squared levels: mean of (i - j)^2 over
        pairs of pixels within the nucleus 4 % of the cell's diameter apart, mean of four
        directions.
    cytoplasm_granularity : float or None
        Standard deviation of the cytoplasm's green density about its mean in a Gaussian window
        of 4 % of the cell's diameter (normalised convolution [7]_), density.
    cytoplasm_red, cytoplasm_green, cytoplasm_blue : float or None
        Mean colour of the cytoplasm where the white background is 255, 0 to 255.
    cytoplasm_basophilia : float or None
        Mean density of red less that of blue: RNA binds azure B [8]_, which absorbs red and
        hardly blue. Larger is bluer.
    cytoplasm_eosinophilia : float or None
        Mean density of green less that of red: eosin, which eosinophil granules and
        haemoglobin take up [8]_, absorbs green and hardly red. Larger is pinker.

    References
    ----------
    .. [1] Cox (1927), J. Paleontology 1, 179-183.
    .. [2] Legland, Kiêu and Devaux (2007), doi:10.5566/ias.v26.p83-92
    .. [3] Soille (2004), Morphological Image Analysis, doi:10.1007/978-3-662-05088-0
    .. [4] Chan, Jiang, Chen, Tsai et al. (2010), doi:10.1186/1471-2105-11-558
    .. [5] Shannon (1948), doi:10.1002/j.1538-7305.1948.tb01338.x
    .. [6] Haralick, Shanmugam and Dinstein (1973), doi:10.1109/TSMC.1973.4309314
    .. [7] Knutsson and Westin (1993), doi:10.1109/CVPR.1993.341081
    .. [8] Wittekind (1979), doi:10.1111/j.1365-2257.1979.tb01090.x
    """

    um_per_px: float | None
    cell_area_px: float
    nucleus_area_px: float
    nc_ratio: float
    equivalent_diameter_px: float
    nucleus_diameter_px: float
    cell_circularity: float
    nucleus_circularity: float | None
    nucleus_solidity: float | None
    nucleus_eccentricity: float | None
    lobes: int
    chromatin_entropy: float | None
    chromatin_contrast: float | None
    cytoplasm_granularity: float | None
    cytoplasm_red: float | None
    cytoplasm_green: float | None
    cytoplasm_blue: float | None
    cytoplasm_basophilia: float | None
    cytoplasm_eosinophilia: float | None

    @property
    def cell_area_um2(self) -> float | None:
        """Area of the whole cell, square micrometres."""
        return None if self.um_per_px is None else self.cell_area_px * self.um_per_px**2

    @property
    def nucleus_area_um2(self) -> float | None:
        """Area of the nucleus, square micrometres."""
        return None if self.um_per_px is None else self.nucleus_area_px * self.um_per_px**2

    @property
    def equivalent_diameter_um(self) -> float | None:
        """Diameter of the circle with the cell's area, micrometres."""
        return None if self.um_per_px is None else self.equivalent_diameter_px * self.um_per_px

    @property
    def nucleus_diameter_um(self) -> float | None:
        """Diameter of the circle with the nucleus' area, micrometres."""
        return None if self.um_per_px is None else self.nucleus_diameter_px * self.um_per_px

    @property
    def cytoplasm_colour(self) -> tuple[float, float, float] | None:
        """Mean R, G, B of the cytoplasm where the white background is 255."""
        red, green, blue = self.cytoplasm_red, self.cytoplasm_green, self.cytoplasm_blue
        return None if red is None or green is None or blue is None else (red, green, blue)

    def to_dict(self) -> dict[str, float | int | None]:
        """Give every column's value, rounded, for JSON and CSV.

        Returns
        -------
        values : dict
            In the order of `COLUMNS`; None stays None.
        """
        return {column.name: _rounded(column.name, self) for column in COLUMNS}


COLUMNS: tuple[Column, ...] = (
    Column("cell_area_px", "Cell area (px)", "Area of the whole cell, pixels of the original."),
    Column("cell_area_um2", "Cell area (µm²)", "Area of the whole cell, square micrometres."),
    Column("nucleus_area_px", "Nucleus area (px)", "Area of the nucleus, pixels of the original."),
    Column("nucleus_area_um2", "Nucleus area (µm²)", "Area of the nucleus, square micrometres."),
    Column("nc_ratio", "N:C ratio", "Area of the nucleus over the area of the whole cell."),
    Column(
        "equivalent_diameter_px",
        "Cell diameter (px)",
        "Diameter of the circle with the cell's area, pixels of the original.",
    ),
    Column(
        "equivalent_diameter_um",
        "Cell diameter (µm)",
        "Diameter of the circle with the cell's area, micrometres.",
    ),
    Column(
        "nucleus_diameter_px",
        "Nucleus diameter (px)",
        "Diameter of the circle with the nucleus' area, pixels of the original.",
    ),
    Column(
        "nucleus_diameter_um",
        "Nucleus diameter (µm)",
        "Diameter of the circle with the nucleus' area, micrometres.",
    ),
    Column(
        "cell_circularity",
        "Cell circularity (0–1)",
        "4π times the cell's area over its perimeter squared: 1 is a disc.",
    ),
    Column(
        "nucleus_circularity",
        "Nucleus circularity (0–1)",
        "4π times the nucleus' area over its perimeter squared: 1 is a disc.",
    ),
    Column(
        "nucleus_solidity",
        "Nucleus solidity (0–1)",
        "Area of the nucleus over the area of its convex hull: less where it is indented.",
    ),
    Column(
        "nucleus_eccentricity",
        "Nucleus eccentricity (0–1)",
        "Eccentricity of the ellipse that fits the nucleus: 0 is a circle, 1 a line.",
    ),
    Column(
        "lobes",
        "Nuclear lobes (count)",
        "Parts of the nucleus that are separate, or joined by a neck narrower than three quarters "
        "of the narrower part.",
    ),
    Column(
        "chromatin_entropy",
        "Chromatin entropy (bits)",
        "Shannon entropy of the green density inside the nucleus, in steps of a sixteenth of its "
        "mean: 0 is even.",
    ),
    Column(
        "chromatin_contrast",
        "Chromatin contrast (squared steps)",
        "Haralick's contrast inside the nucleus: mean squared difference of density, in steps of "
        "a sixteenth of its mean, 4 % of the cell's diameter apart.",
    ),
    Column(
        "cytoplasm_granularity",
        "Cytoplasm granularity (density)",
        "Standard deviation of the cytoplasm's green density about its surroundings of 4 % of "
        "the cell's diameter.",
    ),
    Column(
        "cytoplasm_red",
        "Cytoplasm red (0–255)",
        "Mean red of the cytoplasm where the white background is 255.",
    ),
    Column(
        "cytoplasm_green",
        "Cytoplasm green (0–255)",
        "Mean green of the cytoplasm where the white background is 255.",
    ),
    Column(
        "cytoplasm_blue",
        "Cytoplasm blue (0–255)",
        "Mean blue of the cytoplasm where the white background is 255.",
    ),
    Column(
        "cytoplasm_basophilia",
        "Cytoplasm basophilia (density)",
        "Mean optical density of red less that of blue in the cytoplasm: larger is bluer.",
    ),
    Column(
        "cytoplasm_eosinophilia",
        "Cytoplasm eosinophilia (density)",
        "Mean optical density of green less that of red in the cytoplasm: larger is pinker.",
    ),
)


def _rounded(name: str, cell: Morphometry) -> float | int | None:
    value: float | int | None = getattr(cell, name)
    if value is None or isinstance(value, int):
        return value
    coarse = name.endswith(("_px", "_red", "_green", "_blue"))
    return round(value, 1 if coarse else 2 if name.endswith(("_um", "_um2")) else 4)


def measure(
    pixels: RGBImage,
    outline: CellOutline,
    *,
    white: Sequence[float] | NDArray[np.floating] | None = None,
    um_per_px: float | None = None,
) -> Morphometry:
    """Measure one outlined cell.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        The field, RGB; not modified.
    outline : CellOutline
        Of a cell in `pixels`; not modified.
    white : three numbers, optional
        R, G, B of the empty background; `white_point` of `pixels` by default. Give it where
        many cells of a field are measured.
    um_per_px : float, optional
        Micrometres per pixel of `pixels`.

    Returns
    -------
    cell : Morphometry

    Raises
    ------
    InvalidImage
        If `pixels` is not an RGB picture of 8 bits.
    InvalidInput
        If the outline is empty or lies outside the picture, or if `white` or `um_per_px` is
        not above 0.
    """
    balance = _validated(pixels, outline, white, um_per_px)
    cell, nucleus = outline.cell, outline.nucleus & outline.cell
    window = _window(pixels, outline)
    levels = np.arange(256.0)[:, None] + DARK_OFFSET
    table = np.maximum(np.log((balance + DARK_OFFSET) / levels), 0.0).astype(np.float32)
    density = np.asarray(cv2.LUT(window, table[None]), np.float32)
    green = np.ascontiguousarray(density[..., 1])
    diameter = _diameter(cell)
    entropy, contrast = _chromatin(green, _core(nucleus, diameter), diameter)
    cytoplasm = _core(cell & ~nucleus, diameter)
    colour = _mean(window, cytoplasm)
    stain = _mean(density, cytoplasm)
    nuclear = nucleus.any()
    return Morphometry(
        um_per_px=um_per_px,
        cell_area_px=outline.cell_area_px,
        nucleus_area_px=float(np.count_nonzero(nucleus)) / outline.zoom**2,
        nc_ratio=float(np.count_nonzero(nucleus) / np.count_nonzero(cell)),
        equivalent_diameter_px=diameter / outline.zoom,
        nucleus_diameter_px=_diameter(nucleus) / outline.zoom,
        cell_circularity=measures.circularity(cell),
        nucleus_circularity=measures.circularity(nucleus) if nuclear else None,
        nucleus_solidity=measures.solidity(nucleus) if nuclear else None,
        nucleus_eccentricity=measures.eccentricity(nucleus) if nuclear else None,
        lobes=measures.count_lobes(nucleus, cell_diameter_px=diameter),
        chromatin_entropy=entropy,
        chromatin_contrast=contrast,
        cytoplasm_granularity=measures.granularity(green, cytoplasm, sigma_px=GRAIN * diameter),
        cytoplasm_red=None if colour is None else _balanced(colour[0], balance[0]),
        cytoplasm_green=None if colour is None else _balanced(colour[1], balance[1]),
        cytoplasm_blue=None if colour is None else _balanced(colour[2], balance[2]),
        cytoplasm_basophilia=None if stain is None else float(stain[0] - stain[2]),
        cytoplasm_eosinophilia=None if stain is None else float(stain[1] - stain[0]),
    )


def _validated(
    pixels: RGBImage,
    outline: CellOutline,
    white: Sequence[float] | NDArray[np.floating] | None,
    um_per_px: float | None,
) -> NDArray[np.float64]:
    """The white point, once everything that came is as it should be."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InvalidImage(
            "An RGB picture of 8 bits a channel was expected; "
            f"{pixels.dtype} of shape {pixels.shape} came."
        )
    if not outline.cell.any():
        raise InvalidInput("The outline of a cell was expected; an empty one came.")
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0.0):
        raise InvalidInput(f"Micrometres per pixel above 0 were expected; {um_per_px} came.")
    balance = np.asarray(white_point(pixels) if white is None else white, np.float64)
    if balance.shape != (3,) or not np.isfinite(balance).all() or not (balance > 0.0).all():
        raise InvalidInput(f"A white point of three numbers above 0 was expected; {white} came.")
    return balance


def _window(pixels: RGBImage, outline: CellOutline) -> RGBImage:
    """The outline's window, cut out at its zoom."""
    height, width = outline.cell.shape
    top, left = round(outline.top), round(outline.left)
    bottom = round(outline.top + height / outline.zoom)
    right = round(outline.left + width / outline.zoom)
    part = pixels[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not part.size:
        raise InvalidInput("The outline of a cell in the picture was expected; it lies outside.")
    over = (-top, bottom - pixels.shape[0], -left, right - pixels.shape[1])
    if max(over) > 0:  # a window rounded up to whole pixels
        above, below, before, after = (max(0, amount) for amount in over)
        part = np.pad(part, ((above, below), (before, after), (0, 0)), mode="edge")
    if part.shape[:2] == (height, width):
        return part
    how = cv2.INTER_AREA if outline.zoom < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=how), np.uint8)


def _diameter(mask: BoolImage) -> float:
    return 2.0 * math.sqrt(np.count_nonzero(mask) / math.pi)


def _core(region: BoolImage, cell_diameter_px: float) -> BoolImage:
    """A region without its rim, or all of it where next to nothing would be left.

    The border of the window is no rim.
    """
    # The edge lies half a pixel before the centre of the first pixel outside.
    core = distance_map(region.astype(np.uint8)) > RIM * cell_diameter_px + 0.5
    enough = LEAST_CORE * np.count_nonzero(region)
    return core if np.count_nonzero(core) >= max(1.0, enough) else region


def _chromatin(
    green: FloatImage, nucleus: BoolImage, cell_diameter_px: float
) -> tuple[float | None, float | None]:
    """Entropy and contrast."""
    if not nucleus.any():
        return None, None
    levels = measures.relative_levels(green, nucleus)
    contrast = measures.glcm_contrast(levels, nucleus, distance_px=GRAIN * cell_diameter_px)
    return measures.entropy(levels, nucleus), contrast


def _mean(planes: NDArray[np.uint8] | FloatImage, region: BoolImage) -> NDArray[np.float64] | None:
    """Mean of each channel over a region."""
    return np.asarray(planes[region].mean(axis=0, dtype=np.float64)) if region.any() else None


def _balanced(level: float, white: float) -> float:
    return float(min(255.0, 255.0 * level / white))
