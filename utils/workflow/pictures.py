"""The pictures of a field: those that are kept, and heatmaps drawn when somebody looks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.imaging import decode as decoding
from utils.imaging import overlay

if TYPE_CHECKING:
    from utils.workflow.analyse import AnalysisResult

THUMBNAIL_SIDE_PX: Final = 240
# Maps have 7 x 7 values: more pixels than this would only enlarge the file.
HEATMAP_SIDE_PX: Final = 448
COLOUR_MAPS: Final = ("jet", "viridis", "cividis")


@dataclass(frozen=True)
class Pictures:
    """The pictures that are kept of a field, encoded and free of metadata."""

    original: bytes
    original_media_type: str
    clahe: bytes
    boundaries: bytes
    thumbnail: bytes


def encode_pictures(result: AnalysisResult) -> Pictures:
    """Encode what is kept of a field.

    CLAHE is a view and not evidence, so JPEG serves. The boundaries are one bit a pixel with a
    transparent ground: a tenth of the size and the time of RGBA.
    """
    original, media_type = decoding.clean_copy(result.decoded)
    return Pictures(
        original=original,
        original_media_type=media_type,
        clahe=decoding.encode_jpeg(result.clahe, quality=90),
        boundaries=_boundaries_png(result),
        thumbnail=decoding.encode_jpeg(thumbnail(result.decoded.pixels), quality=82),
    )


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce a picture to a longest side of at most `THUMBNAIL_SIDE_PX`."""
    height, width = pixels.shape[:2]
    size = _fitting(width, height, THUMBNAIL_SIDE_PX)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def shared_ceiling(cams: Sequence[Sequence[Sequence[float]]] | NDArray[np.float32]) -> float:
    """Largest value over the maps of all classes: the end of the one scale they share."""
    return float(np.max(np.asarray(cams, dtype=np.float32), initial=0.0))


def heatmap_png(
    cam: NDArray[np.float32],
    *,
    ceiling: float,
    width_px: int,
    height_px: int,
    colour_map: str,
    share: float = 1.0,
) -> bytes:
    """Draw the heatmap of one class as a picture of its own, to be laid over the field.

    Parameters
    ----------
    cam : (h, w) ndarray of float32
        Not negative.
    ceiling : float
        Value of the colour map's upper end, shared by all classes.
    width_px, height_px : int
        Size of the field; the picture has its shape, and at most `HEATMAP_SIDE_PX` a side.
    colour_map : str
        One of `COLOUR_MAPS`.
    share : float
        Part of the map's width and height that is drawn, from its middle.
    """
    width, height = _fitting(width_px, height_px, HEATMAP_SIDE_PX)
    scaled = cam * (255.0 / ceiling) if ceiling > 0 else np.zeros_like(cam)
    whole = max(width, round(width / share)), max(height, round(height / share))
    level = cv2.resize(scaled.astype(np.float32), whole, interpolation=cv2.INTER_LINEAR)
    left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
    level = level[top : top + height, left : left + width]
    image = Image.fromarray(np.clip(level + 0.5, 0, 255).astype(np.uint8))
    image.putpalette(overlay.colour_map(colour_map).astype(np.uint8).tobytes())
    return _png(image)


def _boundaries_png(result: AnalysisResult) -> bytes:
    height, width = result.decoded.pixels.shape[:2]
    lines = overlay.boundaries_rgba(result.segmentation, (height, width))[..., 3] > 0
    image = Image.fromarray(lines.astype(np.uint8))
    image.putpalette(bytes((0, 0, 0, *overlay.BOUNDARY_RED)))
    return _png(image, transparency=0, bits=1)


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, **options)
    return buffer.getvalue()


def _fitting(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
