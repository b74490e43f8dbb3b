"""Slices between two slabs: the lesion parts in them, and which of these touch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Face:
    """A slice whose neighbour above or below is still missing, cropped to its lesions."""

    numbers: NDArray[np.int64]
    """(height, width): 1 + the number of the part, or 0."""
    top: int
    left: int


def touching(one: Face, other: Face) -> NDArray[np.int64]:
    """Numbers of parts that touch in two adjacent slices, (2, n)."""
    first, start = max(one.top, other.top), max(one.left, other.left)
    cut = []
    for face in (one, other):
        rows = slice(first - face.top, None)
        cut.append(face.numbers[rows, start - face.left :])
    height, width = (min(sizes) for sizes in zip(*(face.shape for face in cut), strict=True))
    here, there = (face[:height, :width] for face in cut)
    both = (here > 0) & (there > 0)
    pairs = np.stack([here[both], there[both]]) - 1
    again = np.zeros(pairs.shape[1], bool)
    again[1:] = (pairs[:, 1:] == pairs[:, :-1]).all(0)
    return pairs[:, ~again]
