"""Where a training stands, on disk: written so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STATE = "state.json"


def write(
    run: Path, name: str, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint, then the state that names it; then drop the checkpoint before it.

    Parameters
    ----------
    run : Path
        Folder of the run.
    name : str
        File of the arrays, with the suffix ``.npz``; a new one each time.
    arrays : mapping of str to ndarray
    state : mapping
        JSON.
    """
    target = run / name
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stubs: only positional ones
        file.flush()
        os.fsync(file.fileno())
    partial.rename(target)
    replace(run / STATE, json.dumps({**state, "checkpoint": name}))
    for old in run.glob("*.npz"):
        if old != target:
            old.unlink()


def replace(path: Path, text: str) -> None:
    """Put a text in a file's place, whole or not at all."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Put bytes in a file's place, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def read_state(run: Path) -> dict[str, Any] | None:
    """The state that was written last; None where the run has not come to a checkpoint."""
    path = run / STATE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
