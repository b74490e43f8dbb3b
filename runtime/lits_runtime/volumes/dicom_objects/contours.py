"""Outlines of masks: closed polygons midway between the pixels inside and outside."""

import numpy as np
from numpy.typing import NDArray

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
_STEPS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((_TOP, _LEFT),),
    2: ((_RIGHT, _TOP),),
    3: ((_RIGHT, _LEFT),),
    4: ((_BOTTOM, _RIGHT),),
    5: ((_TOP, _LEFT), (_BOTTOM, _RIGHT)),
    6: ((_BOTTOM, _TOP),),
    7: ((_BOTTOM, _LEFT),),
    8: ((_LEFT, _BOTTOM),),
    9: ((_TOP, _BOTTOM),),
    10: ((_RIGHT, _TOP), (_LEFT, _BOTTOM)),
    11: ((_RIGHT, _BOTTOM),),
    12: ((_LEFT, _RIGHT),),
    13: ((_TOP, _RIGHT),),
    14: ((_LEFT, _TOP),),
}
"""Marching squares: from which side of a square of four pixels to which the outline goes, by the
pixels inside (1 upper left, 2 upper right, 4 lower right, 8 lower left). Pixels that touch at a
corner alone are kept apart, as lesions are that touch at an edge."""


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed polygons of a mask (rows, columns), (n, 2) as (column, row) of pixel centres.

    Outlines of holes are polygons of their own: what is inside an odd number of polygons is inside
    the mask (the XOR rule).

    >>> outlines(np.ones((1, 2), bool))[0].tolist()
    [[0.0, -0.5], [1.0, -0.5], [1.5, 0.0], [1.0, 0.5], [0.0, 0.5], [-0.5, 0.0]]
    """
    padded = np.pad(mask, 1)
    width = padded.shape[1]
    inside = padded.astype(np.uint8)
    kinds = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    follows: dict[int, int] = {}
    for kind, steps in _STEPS.items():
        squares = np.flatnonzero(kinds == kind)
        rows, columns = np.divmod(squares, width - 1)
        at = rows * width + columns
        # Each midpoint has a number: twice that of the upper or left pixel, odd if it is below it.
        sides = (2 * at, 2 * (at + 1) + 1, 2 * (at + width), 2 * at + 1)
        for start, end in steps:
            follows.update(zip(sides[start].tolist(), sides[end].tolist(), strict=True))
    return [_corners(loop, width) for loop in _loops(follows)]


def _loops(follows: dict[int, int]) -> list[list[int]]:
    loops = []
    for start in sorted(follows):
        if start not in follows:
            continue
        loop, at = [], start
        while at in follows:
            loop.append(at)
            at = follows.pop(at)
        loops.append(loop)
    return loops


def _corners(loop: list[int], width: int) -> NDArray[np.float64]:
    """Midpoints by number to (column, row), without those on a straight line."""
    pixels, below = np.divmod(np.array(loop), 2)
    rows, columns = np.divmod(pixels, width)
    points = np.stack([columns - 1 + 0.5 * (1 - below), rows - 1 + 0.5 * below], 1)
    after = np.roll(points, -1, 0) - points
    before = points - np.roll(points, 1, 0)
    corners: NDArray[np.float64] = points[(after != before).any(1)]
    return corners
