"""Synthetic pictures written to a folder, each marked; killed, it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.networks.gan.generator import BATCH, Generator
from utils.networks.gan.sheets import write_synthetic


@dataclass(frozen=True)
class Written:
    """What a sampling did.

    Attributes
    ----------
    made, found : int
        Pictures written, and found whole from an earlier start.
    """

    made: int
    found: int


def write_samples(
    generator: Generator,
    code: str,
    count: int,
    folder: Path,
    *,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
) -> Written:
    """Write pictures of a class as PNG files that say of themselves that they are synthetic.

    A picture follows from the generator, the class, the seed and its number alone, and a file is
    there whole or not at all: what is there is left as it is.

    Parameters
    ----------
    generator : Generator
    code : str
    count : int
    folder : Path
    seed : int
    tell : callable
        Is told how many are there.

    Returns
    -------
    written : Written
    """
    about = generator.about
    generator.number_of(code)
    folder.mkdir(parents=True, exist_ok=True)
    made = found = 0
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        paths = {n: folder / f"synthetic-{code}-{seed}-{n:06d}.png" for n in numbers}
        if all(path.is_file() for path in paths.values()):
            found += len(paths)
        else:
            pictures = generator.draw(code, numbers, seed=seed)
            for number, pixels in zip(numbers, pictures, strict=True):
                if paths[number].is_file():
                    found += 1
                    continue
                write_synthetic(
                    pixels,
                    paths[number],
                    Class=code,
                    Generator=f"{about.run} {about.weights_sha256[:12]}",
                    Seed=f"{seed}/{number}",
                )
                made += 1
        tell(made + found)
    return Written(made, found)
