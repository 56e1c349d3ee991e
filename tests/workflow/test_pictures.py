"""Pictures made for the pages."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from utils.workflow.pictures import heatmap_png


def _levels(share: float) -> np.ndarray:
    cam = np.zeros((8, 8), np.float32)
    cam[2:6, 2:6] = 1.0
    drawn = heatmap_png(cam, ceiling=1.0, width_px=64, height_px=64, colour_map="jet", share=share)
    return np.asarray(Image.open(io.BytesIO(drawn)))


def test_the_middle_of_a_map_is_drawn_where_the_picture_shows_less_than_was_read() -> None:
    whole, middle = _levels(1.0), _levels(0.5)
    assert whole.shape == middle.shape == (64, 64)
    assert whole[0, 0] == 0
    assert whole[32, 32] == middle[32, 32] == 255
    # The middle half is the hot square alone, but for the blur of its edge.
    assert (middle[8:56, 8:56] == 255).all()
    assert (whole == 255).mean() < 0.3 < (middle == 255).mean()
