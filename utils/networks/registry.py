"""Trained networks on disk: found, verified, loaded."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from utils.errors import NetworkCorrupt, NetworkUnavailable
from utils.networks.classifier import Classifier
from utils.networks.manifest import LabelClass, Manifest

GRAPH = "network.onnx"
MANIFEST = "manifest.json"
CURRENT = "current"
LABELS = "labels.json"


def list_networks(models_dir: Path) -> list[Manifest]:
    """Manifests of all trained networks, by name and version."""
    found = sorted(models_dir.glob(f"*/*/{MANIFEST}")) if models_dir.is_dir() else []
    return [Manifest.load(path) for path in found]


def current_version(models_dir: Path, name: str) -> str:
    """The version that serves.

    Raises
    ------
    NetworkUnavailable
        If there is no network of this name or none of it serves.
    """
    pointer = models_dir / name / CURRENT
    try:
        version = pointer.read_text().strip()
    except OSError as error:
        raise NetworkUnavailable(
            f"No trained network {name} is installed; expected one under models/{name}/."
        ) from error
    return version


def set_current(models_dir: Path, name: str, version: str) -> None:
    """Let a version serve from the next start on."""
    folder = models_dir / name
    if not (folder / version / MANIFEST).is_file():
        raise NetworkUnavailable(f"There is no network {name} {version}.")
    partial = folder / f"{CURRENT}.partial"
    with partial.open("w") as file:
        file.write(version + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / CURRENT)


def label_set(models_dir: Path, name: str, version: str | None = None) -> list[LabelClass]:
    """The classes that a network calls by, in the order of its logits.

    Parameters
    ----------
    models_dir : Path
    name : str
    version : str, optional
        None for the one that serves.

    Returns
    -------
    classes : list of LabelClass
        Of the version's manifest; where none is installed, of the listed label set, by which a
        network is trained and people count by hand.

    Raises
    ------
    NetworkUnavailable
        If there is neither.
    NetworkCorrupt
        If what is there is not valid.
    """
    try:
        chosen = version or current_version(models_dir, name)
        manifest = models_dir / name / chosen / MANIFEST
        return list(_classes_of(manifest, manifest.stat().st_mtime_ns))
    except (NetworkUnavailable, OSError):
        return listed_label_set(models_dir, name)


def listed_label_set(models_dir: Path, name: str) -> list[LabelClass]:
    """The classes that the next training of a network starts from: ``labels.json``.

    Raises
    ------
    NetworkUnavailable
        If there is none of this name.
    NetworkCorrupt
        If it is not valid; the sentence says where.
    """
    place = models_dir / name / LABELS
    try:
        return TypeAdapter(list[LabelClass]).validate_json(place.read_bytes())
    except OSError as error:
        raise NetworkUnavailable(
            f"Expected the label set in models/{name}/{LABELS}; there is none."
        ) from error
    except ValidationError as error:
        raise NetworkCorrupt(f"models/{name}/{LABELS} is no valid label set: {error}") from error


# A manifest holds the statistics of the training domain, megabytes: pages ask for its classes.
@lru_cache(maxsize=16)
def _classes_of(manifest: Path, _changed_ns: int) -> tuple[LabelClass, ...]:
    return tuple(Manifest.load(manifest).classes)


def find(models_dir: Path, name: str, version: str | None = None) -> Path:
    """Folder of a trained network.

    Raises
    ------
    NetworkUnavailable
        If it is not there.
    """
    chosen = version or current_version(models_dir, name)
    folder = models_dir / name / chosen
    for file in (MANIFEST, GRAPH):
        if not (folder / file).is_file():
            raise NetworkUnavailable(f"Network {name} {chosen} is not whole: {file} is missing.")
    return folder


def load_classifier(
    models_dir: Path, name: str, version: str | None = None, *, threads: int = 1
) -> Classifier:
    """Verify a trained network and load it.

    Parameters
    ----------
    models_dir : Path
    name : str
    version : str or None
        None for the one that serves.
    threads : int
        Threads of the engine.

    Returns
    -------
    classifier : Classifier

    Raises
    ------
    NetworkUnavailable
        If it is not there.
    NetworkCorrupt
        If the weights are not those that the manifest names, or the graph does
        not fit the manifest.
    """
    folder = find(models_dir, name, version)
    manifest = Manifest.load(folder / MANIFEST)
    with (folder / GRAPH).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != manifest.weights_sha256:
        raise NetworkCorrupt(
            f"The weights of network {manifest.name} {manifest.version} are not those that its "
            "manifest names (SHA-256 differs). Restore the file; nothing is read until then."
        )
    # By path: the engine then reads the weights itself, 50 MB less in memory.
    return Classifier(folder / GRAPH, manifest, threads=threads)
