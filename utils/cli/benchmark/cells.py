"""Reading the cells of a large field in this process, as the worker does it."""

from __future__ import annotations

import resource
import sys
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import cv2
import numpy as np

from utils.imaging.cells import find_cells
from utils.imaging.decode import Limits, decode, encode_jpeg
from utils.imaging.synthesis import field
from utils.networks.baselines import published_watershed
from utils.networks.registry import load_classifier
from utils.records import User, db
from utils.records.blobs import BlobStore
from utils.settings import Settings
from utils.workflow import job_states, jobs, read
from utils.workflow.analyse import analyse_image, store_analysis

# Cells, height and width in pixels.
FIELDS: Final = {200: (1400, 1400), 2000: (3000, 4000)}
_WORKER: Final = "bench:1"


def measure_cells(
    settings: Settings, user: User, blobs: BlobStore, *, cells: int
) -> dict[str, Any]:
    """Read a synthetic field of many cells by the job that serves.

    Parameters
    ----------
    settings : Settings
    user : User
    blobs : BlobStore
    cells : int
        One of `FIELDS`.

    Returns
    -------
    figures : dict
        ``cells`` drawn and ``found``, ``named`` (whether a cell network is installed),
        ``first_s`` and ``read_s`` (the job: the first, which loads the network, and the second),
        ``find_s`` and ``published_find_s`` (the published watershed on the same picture),
        ``peak_rss_mb`` of this process, taken before the published watershed.
    """
    # Drawn elsewhere: the memory that drawing takes is not the reading's.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        data, drawn = elsewhere.submit(_draw, cells, FIELDS[cells]).result()
    classifier = load_classifier(settings.models_dir, settings.field_network, threads=1)
    seconds, found = [], 0
    for _ in range(2):
        result = analyse_image(data, classifier=classifier, settings=settings)
        row = store_analysis(result, user=user, upload_key=uuid.uuid4().hex, blobs=blobs)
        turn = job_states.claim(db.session, worker=_WORKER, kinds=[read.KIND])
        assert turn is not None
        started = time.perf_counter()
        outcome = jobs.perform(db.session, settings, turn)
        seconds.append(time.perf_counter() - started)
        assert outcome == "done", outcome
        found = len(read.list_cells(db.session(), row))
    # In bytes on macOS, in kilobytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    pixels = decode(data, Limits(settings.max_image_bytes, settings.max_image_pixels)).pixels
    return {
        "cells": drawn,
        "found": found,
        "named": read.serving_version(settings) is not None,
        "first_s": round(seconds[0], 2),
        "read_s": round(seconds[1], 2),
        "find_s": round(_seconds(lambda: find_cells(pixels)), 3),
        "published_find_s": round(_seconds(lambda: published_watershed(pixels)), 3),
        "peak_rss_mb": round(peak),
    }


def _draw(cells: int, size: tuple[int, int]) -> tuple[bytes, int]:
    """A field of many cells as JPEG, and how many it holds."""
    drawn = field(
        3,
        height=size[0],
        width=size[1],
        cells=cells,
        touching_share=0.2,
        red_cell_radius_px=14.0,
    )
    return encode_jpeg(drawn.pixels, quality=85), drawn.count


def _seconds(action: Any) -> float:
    """Shortest of two runs, after both libraries are warm."""
    cv2.setNumThreads(1)
    published_watershed(np.full((64, 64, 3), 200, np.uint8))
    durations = []
    for _ in range(2):
        started = time.perf_counter()
        action()
        durations.append(time.perf_counter() - started)
    return min(durations)
