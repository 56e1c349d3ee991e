"""Folders of classes, and splits of them that do not leak."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.errors import DatasetInvalid
from utils.imaging.decode import Limits, decode

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
LIMITS = Limits(max_bytes=100_000_000, max_pixels=50_000_000)

# Perceptual hashes of 64 bits: at most this many differing bits make two files
# near-duplicates.
NEAR_DUPLICATE_BITS = 6


@dataclass(frozen=True)
class Example:
    """One labelled picture.

    Attributes
    ----------
    path : Path
    code : str
        Class code, the folder's name.
    sha256 : str
        Of the file's bytes.
    """

    path: Path
    code: str
    sha256: str


def list_folder(folder: Path) -> list[Example]:
    """Read a folder of class folders.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    examples : list of Example
        Sorted by class, then by file number and name.

    Raises
    ------
    DatasetInvalid
        If the folder is absent or holds no class folder with pictures.
    """
    if not folder.is_dir():
        raise DatasetInvalid(f"Expected a folder of class folders; {folder} is not a folder.")
    examples = []
    for sub in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = [p for p in sub.iterdir() if p.suffix.lower() in SUFFIXES]
        for path in sorted(files, key=lambda p: (file_number(p), p.name)):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            examples.append(Example(path, sub.name, digest))
    if not examples:
        raise DatasetInvalid(f"Expected class folders with pictures in {folder}; found none.")
    return examples


def file_number(path: Path) -> int:
    """Last run of digits in a file's name; -1 where there is none."""
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1


def load_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode by the same way as an upload.

    Returns
    -------
    pixels : (H, W, 3) ndarray of uint8
        RGB.
    """
    pixels: NDArray[np.uint8] = decode(path.read_bytes(), LIMITS).pixels
    return pixels


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """64-bit hash of the low frequencies of a cosine transform.

    Returns
    -------
    hash : int

    References
    ----------
    .. [1] Zauner (2010), Implementation and benchmarking of perceptual image
       hash functions, thesis, FH Hagenberg.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def near_duplicates(
    hashes: Sequence[int], *, most_bits: int = NEAR_DUPLICATE_BITS
) -> Iterator[tuple[int, int]]:
    """Pairs of positions whose hashes differ in few bits.

    Parameters
    ----------
    hashes : sequence of int
        64-bit.
    most_bits : int
        Largest Hamming distance of a pair.

    Yields
    ------
    pair : tuple of int
    """
    values = np.array(hashes, dtype=np.uint64)
    for first in range(len(values)):
        distance = np.bitwise_count(values[first + 1 :] ^ values[first])
        for offset in np.flatnonzero(distance <= most_bits):
            yield first, first + 1 + int(offset)


def group_examples(examples: Sequence[Example], *, block: int = 40) -> list[int]:
    """Groups that must not be parted: subjects, else blocks of file numbers.

    Near-duplicates join the groups they stand in.

    Parameters
    ----------
    examples : sequence of Example
    block : int
        File numbers to a block.

    Returns
    -------
    groups : list of int
        A group number for each example.
    """
    keys = [_group_key(example, block) for example in examples]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    parent = list(range(len(numbers)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    hashes = [perceptual_hash(load_pixels(example.path)) for example in examples]
    for first, second in near_duplicates(hashes):
        a, b = root(numbers[keys[first]]), root(numbers[keys[second]])
        parent[max(a, b)] = min(a, b)
    return [root(numbers[key]) for key in keys]


def _group_key(example: Example, block: int) -> str:
    # C-NMC names its subjects: UID_12_…, UID_H12_…
    subject = re.match(r"UID_(H?\d+)_", example.path.name)
    if subject:
        return f"subject {subject.group(1)}"
    return f"{example.code} {file_number(example.path) // block}"


@dataclass(frozen=True)
class Split:
    """Which file belongs to which part, by content.

    Attributes
    ----------
    seed : int
    block : int
    parts : dict of str to Part
        By the file's SHA-256.
    groups : dict of str to int
        By the file's SHA-256.
    """

    seed: int
    block: int
    parts: dict[str, Part]
    groups: dict[str, int]

    def select(self, examples: Sequence[Example], part: Part) -> list[Example]:
        """Those of `examples` that belong to `part`."""
        return [example for example in examples if self.parts.get(example.sha256) == part]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(self.__dict__, indent=0, sort_keys=True))

    @staticmethod
    def load(path: Path) -> Split:
        """Read what `save` wrote."""
        return Split(**json.loads(path.read_text()))


def split_by_group(
    examples: Sequence[Example],
    *,
    seed: int,
    block: int = 40,
    validation: float = 0.13,
    test: float = 0.17,
) -> Split:
    """Split by group, stratified by class.

    Parameters
    ----------
    examples : sequence of Example
    seed : int
    block : int
        File numbers to a block.
    validation, test : float
        Shares of each class.

    Returns
    -------
    split : Split

    Raises
    ------
    DatasetInvalid
        If a class has too few groups for three parts.
    """
    groups = group_examples(examples, block=block)
    rng = np.random.default_rng(seed)
    by_group: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        by_group.setdefault(group, []).append(i)
    total = Counter(example.code for example in examples)
    filled: dict[Part, Counter[str]] = {part: Counter() for part in PARTS}
    share: dict[Part, float] = {"test": test, "validation": validation}
    parts: dict[str, Part] = {}
    order = list(by_group.values())
    rng.shuffle(order)
    for members in order:
        code = Counter(examples[i].code for i in members).most_common(1)[0][0]
        chosen: Part = "train"
        for part, wanted in share.items():
            # A group may overshoot its share by a quarter of its own size.
            room = wanted * total[code] - filled[part][code]
            if room >= 0.75 * len(members):
                chosen = part
                break
        for i in members:
            filled[chosen][examples[i].code] += 1
            parts[examples[i].sha256] = chosen
    for part in PARTS:
        missing = sorted(code for code in total if filled[part][code] == 0)
        if missing:
            raise DatasetInvalid(
                "Expected enough groups of each class for three parts; with blocks of "
                f"{block} file numbers no picture of {', '.join(missing)} is left for {part}. "
                "Smaller blocks help."
            )
    names = {examples[i].sha256: groups[i] for i in range(len(examples))}
    return Split(seed=seed, block=block, parts=parts, groups=names)
