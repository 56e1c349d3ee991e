"""How large a pixel is where the file itself says so; nothing else of its metadata is read."""

from __future__ import annotations

import math
import re

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

# A microscope's pixel, micrometres, from 100:1 with the finest camera to 2.5:1. What printers and
# screens write by default (72 to 600 dpi: 350 to 42 µm) lies far above.
SMALLEST_UM, LARGEST_UM = 0.02, 2.0
# Pixels whose sides differ by more are no square ones, and no number of ours describes them.
MOST_UNLIKE = 0.01

_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 270, 282, 283, 296
_INCH_UM, _CM_UM = 25_400.0, 10_000.0
_RESOLUTION_UNITS_UM = {2: _INCH_UM, 3: _CM_UM}
# As OME-XML and ImageJ spell them; ImageJ writes the Greek letter as an escape.
_UNITS_UM = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    "cm": _CM_UM,
    "inch": _INCH_UM,
}
_LONGEST_DESCRIPTION = 100_000
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_SIZE = re.compile(r"""\bPhysicalSize([XY])(Unit)?\s*=\s*["']([^"']{1,40})["']""")
_IMAGEJ_UNIT = re.compile(r"^unit=(\S{1,20})\s*$", re.MULTILINE)
_APERIO_SIZE = re.compile(r"\|\s*MPP\s*=\s*([0-9.]{1,20})")


def stated_um_per_px(image: Image.Image) -> float | None:
    """Read the size of a pixel from a file that was opened and not yet loaded.

    Parameters
    ----------
    image : Image
        TIFF: OME-XML, ImageJ's and Aperio's descriptions, resolution; PNG: pHYs; JPEG: JFIF
        density. Any other says nothing.

    Returns
    -------
    um_per_px : float or None
        None where the file says nothing, says it in damaged metadata, or says what no
        microscope's pixel measures (`SMALLEST_UM` to `LARGEST_UM`).

    References
    ----------
    .. [1] TIFF 6.0 (1992), section 8: XResolution, ResolutionUnit.
    .. [2] Goldberg, Allan, Burel et al. (2005), doi:10.1186/gb-2005-6-5-r47 (OME-XML).
    .. [3] PNG (third edition, 2025), section 11.3.4.3: pHYs.
    .. [4] JFIF (ITU-T T.871, 2011), section 10.1: density.
    """
    try:
        sides = _sides(image)
    except Exception:  # damaged metadata are no reason to refuse the image
        return None
    if sides is None:
        return None
    across, down = sides
    if not (math.isfinite(across) and SMALLEST_UM <= across <= LARGEST_UM):
        return None
    return across if abs(down - across) <= MOST_UNLIKE * across else None


def _sides(image: Image.Image) -> tuple[float, float] | None:
    """Width and height of a pixel, micrometres."""
    if isinstance(image, TiffImageFile):
        return _tiff(image)
    if isinstance(image, PngImageFile):
        dpi = image.info.get("dpi")  # absent where pHYs names no unit
        return None if dpi is None else (_INCH_UM / dpi[0], _INCH_UM / dpi[1])
    if isinstance(image, JpegImageFile):
        # By JFIF alone: `dpi` may come from EXIF, which cameras fill with 72.
        unit_um = {1: _INCH_UM, 2: _CM_UM}.get(image.info.get("jfif_unit", 0))
        if unit_um is None:
            return None
        across, down = image.info["jfif_density"]
        return unit_um / across, unit_um / down
    return None


def _tiff(image: TiffImageFile) -> tuple[float, float] | None:
    tags = image.tag_v2
    described = str(tags.get(_DESCRIPTION, ""))[:_LONGEST_DESCRIPTION]
    said = _by_ome(described) or _by_aperio(described)
    if said is not None or _X_RESOLUTION not in tags:
        return said
    unit_um = _RESOLUTION_UNITS_UM.get(tags.get(_RESOLUTION_UNIT, 2))
    if described.startswith("ImageJ="):
        named = _IMAGEJ_UNIT.search(described)
        unit_um = _UNITS_UM.get(named[1].lower()) if named else None
    if unit_um is None:
        return None
    across = float(tags[_X_RESOLUTION])
    return unit_um / across, unit_um / float(tags.get(_Y_RESOLUTION, across))


def _by_ome(described: str) -> tuple[float, float] | None:
    pixels = _OME_PIXELS.search(described)
    if pixels is None:
        return None
    said = {axis + unit: value for axis, unit, value in _OME_SIZE.findall(pixels[0])}
    if "X" not in said:
        return None
    across = float(said["X"]) * _UNITS_UM[said.get("XUnit", "µm").lower()]
    if "Y" not in said:
        return across, across
    return across, float(said["Y"]) * _UNITS_UM[said.get("YUnit", "µm").lower()]


def _by_aperio(described: str) -> tuple[float, float] | None:
    size = _APERIO_SIZE.search(described) if described.startswith("Aperio") else None
    return None if size is None else (float(size[1]), float(size[1]))
