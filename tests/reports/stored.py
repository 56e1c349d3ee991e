"""A stored field without a network's having read it: rows and pictures, made up and complete."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import cv2
import numpy as np
from flask import Flask
from numpy.typing import NDArray

from utils.imaging.decode import encode_png
from utils.records import Analysis, Case, db

CODES = ("Benign", "Early", "Pre", "Pro")
CENTRES = ((60, 70), (150, 60), (200, 130), (90, 150))
RADIUS_PX = 22


def draw_field(seed: int = 1, height_px: int = 200, width_px: int = 260) -> NDArray[np.uint8]:
    """Draw violet discs on a pale ground."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height_px, width_px, 3), (235, 225, 230), np.uint8)
    for x, y in CENTRES:
        cv2.circle(pixels, (x, y), RADIUS_PX, (110, 60, 150), -1, cv2.LINE_AA)
    noise = rng.integers(-6, 7, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def store_field(app: Flask, owner_id: int, *, key: str = "1", **changes: Any) -> str:
    """Store a field of a case of its own; `changes` go to the analysis or its case.

    Returns
    -------
    public_id : str
        Of the analysis.
    """
    with app.app_context():
        services = app.extensions["marrow_find"]
        picture = services.blobs.put(encode_png(draw_field()))
        case_values: dict[str, Any] = {
            "accession": "BM-2026-0142",
            "patient_reference": "Ελευθερία Παπαδοπούλου",
            "site": "Posterior iliac crest",
            "specimen_date": date(2026, 11, 18),
            "indication": "Pancytopenia",
            "specimen_quality": "Particles present",
        }
        case_values |= {name: changes.pop(name) for name in list(changes) if name in case_values}
        case = Case(owner_id=owner_id, **case_values)
        db.session.add(case)
        db.session.flush()
        values = _analysis_values(picture, owner_id, key) | changes
        analysis = Analysis(case_id=case.id, number=1, **values)
        db.session.add(analysis)
        db.session.commit()
        return analysis.public_id


def _analysis_values(picture: str, owner_id: int, key: str) -> dict[str, Any]:
    cams = np.zeros((len(CODES), 7, 7))
    cams[2, 2:4, 1:3] = 1.5
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    outlines = [
        [[float(x + RADIUS_PX * np.cos(t)), float(y + RADIUS_PX * np.sin(t))] for t in turns]
        for x, y in CENTRES
    ]
    return {
        "owner_id": owner_id,
        "upload_key": key,
        "created_at": datetime(2026, 11, 21, 8, 2, tzinfo=UTC),
        "original_sha256": picture,
        "original_media_type": "image/png",
        "clahe_sha256": picture,
        "boundaries_sha256": picture,
        "thumbnail_sha256": picture,
        "width_px": 260,
        "height_px": 200,
        "format": "PNG",
        "decode_notes": [],
        "network_name": "all4",
        "network_version": "0-untrained",
        "network_sha256": "0" * 64,
        "logits": [0.1, 1.0, 4.0, -1.0],
        "probabilities": dict(zip(CODES, (0.018, 0.044, 0.932, 0.006), strict=True)),
        "cams": cams.tolist(),
        "label_code": "Pre",
        "top_code": "Pre",
        "probability": 0.932,
        "abstained": False,
        "reasons": [],
        "flags": [],
        "ood_distance": 1.02,
        "heat_on_cells": 0.78,
        "nuclei_count": len(CENTRES),
        "nuclei": {
            "outlines": outlines,
            "centroids": [list(map(float, centre)) for centre in CENTRES],
            "heat_on_cells": {"Pre": 0.78},
            "by_chance": 0.12,
        },
        "quality": {},
        "timings_ms": {},
        "program_version": "0.1.0",
    }
