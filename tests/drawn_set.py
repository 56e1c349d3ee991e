"""A labelled set on disk whose pictures are no near-duplicates: coloured clouds by subject."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_drawn_set(folder: Path, counts: dict[str, int]) -> Path:
    """Write a folder of class folders; four pictures to a subject.

    Parameters
    ----------
    folder : Path
    counts : dict of str to int
        Pictures of each class.
    """
    for number, (code, count) in enumerate(counts.items()):
        (folder / code).mkdir(parents=True)
        for i in range(count):
            clouds = np.random.default_rng([number, i]).uniform(0, 160, (6, 6, 3))
            clouds[..., number % 3] += 90
            pixels = cv2.resize(clouds, (72, 72), interpolation=cv2.INTER_CUBIC)
            name = f"UID_{1000 * number + i // 4}_{i:03d}.png"
            cv2.imwrite(str(folder / code / name), np.clip(pixels, 0, 255).astype(np.uint8))
    return folder
