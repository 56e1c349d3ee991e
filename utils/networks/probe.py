"""A linear probe on frozen start features: what ImageNet alone would have read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from utils.networks.architecture import build_classifier, load_start_weights
from utils.networks.normalisation import Normalisation
from utils.networks.views import Views


def probe_accuracies(
    known: Views,
    test: Views,
    *,
    start: str | Path,
    normalisation: Normalisation,
    views: Sequence[str],
    seed: int = 1,
) -> dict[str, float]:
    """Accuracy under each view of a logistic regression on pooled start features.

    Parameters
    ----------
    known : Views
        Training fields; only their plain view is used.
    test : Views
    start : str or Path
        Start weights.
    normalisation : Normalisation
        Of the start weights.
    views : sequence of str
    seed : int

    Returns
    -------
    accuracies : dict of str to float
    """
    keras.config.set_dtype_policy("float32")
    network = build_classifier(2)
    load_start_weights(network, start)
    reader = keras.Model(network.inputs, network.get_layer("avg_pool").output)

    def features(fields: Views, view: str) -> NDArray[np.float32]:
        rows = []
        for first in range(0, len(fields), 32):
            numbers = range(first, min(first + 32, len(fields)))
            batch = np.stack([normalisation.apply(fields.input_of(i, view)) for i in numbers])
            rows.append(np.asarray(reader([batch], training=False)))
        return np.concatenate(rows)

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=500, random_state=seed)
    )
    probe.fit(features(known, "plain"), known.targets)
    return {view: float(probe.score(features(test, view), test.targets)) for view in views}
