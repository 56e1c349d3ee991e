"""The way of one image in this process, station by station."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from utils.imaging.decode import Limits, decode, encode_jpeg
from utils.imaging.preprocess import prepare
from utils.imaging.synthesis import field
from utils.networks.registry import load_classifier
from utils.records import User, db
from utils.records.blobs import BlobStore
from utils.settings import Settings
from utils.workflow.analyse import analyse_image, store_analysis

HEIGHT_PX, WIDTH_PX = 768, 1024


def bench_picture(seed: int = 1) -> bytes:
    """A synthetic field of 1024 x 768 pixels as JPEG."""
    made = field(seed, height=HEIGHT_PX, width=WIDTH_PX, cells=40)
    return encode_jpeg(made.pixels)


def median_ms(action: Callable[[], Any], *, repeats: int, warm_up: int = 3) -> float:
    """Median duration in milliseconds, after a warm-up."""
    for _ in range(warm_up):
        action()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        durations.append((time.perf_counter() - start) * 1000)
    return statistics.median(durations)


def measure_way(
    settings: Settings, user: User, blobs: BlobStore, *, repeats: int
) -> dict[str, Any]:
    """Stations, bare forward and the whole way with storing, one engine thread each.

    Parameters
    ----------
    settings : Settings
    user : User
        In the database of the running application, which takes the analyses.
    blobs : BlobStore
    repeats : int

    Returns
    -------
    figures : dict
        ``stages_ms``, ``forward_ms``, ``whole_ms``, ``ratio_whole_to_forward``; medians.
    """
    classifier = load_classifier(settings.models_dir, settings.field_network, threads=1)
    pictures = [bench_picture(seed) for seed in range(4)]
    decoded = decode(pictures[0], Limits(settings.max_image_bytes, settings.max_image_pixels))
    network_input = prepare(decoded.pixels, classifier.manifest.preprocess).network_input
    stages: list[dict[str, float]] = []
    turn = iter(range(10**9))

    def whole() -> None:
        data = pictures[next(turn) % len(pictures)]
        found = analyse_image(data, classifier=classifier, settings=settings)
        row = store_analysis(found, user=user, upload_key=uuid.uuid4().hex, blobs=blobs)
        stages.append(dict(row.timings_ms))
        db.session.expunge_all()
        db.session.add(user)

    # Forward and whole take turns, so that a busy moment of the machine meets both.
    forward_ms, whole_ms = [], []
    for _ in range(5):
        forward_ms.append(
            median_ms(lambda: classifier.forward(network_input), repeats=max(repeats // 5, 1))
        )
        whole_ms.append(median_ms(whole, repeats=max(repeats // 5, 1)))
    names = stages[-1].keys()
    forward, total = float(np.median(forward_ms)), float(np.median(whole_ms))
    return {
        "stages_ms": {n: round(statistics.median(s[n] for s in stages), 2) for n in names},
        "forward_ms": round(forward, 2),
        "whole_ms": round(total, 2),
        "ratio_whole_to_forward": round(total / forward, 3),
    }
