"""The longest axial diameter of lesions, between the outer corners of their voxels.

The diameter of a lesion in a slice spans all its parts there, whether they are connected in that
slice or in another one. Only two kinds of voxels can be its ends: those at the ends of a row, and
of these the ones on the convex hull. So the others are dropped before distances are computed.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.int32]
"""(4, n) voxels: number of the lesion, slice, row, column."""

_PASSES = 16
"""After this many, voxels inside the hull may remain; they cost time, not accuracy."""
_PAIRS_AT_ONCE = 2**20


def longest_diameters_mm(
    numbers: NDArray[np.integer], step_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Longest axial diameter of each numbered lesion, (n,), mm; 0 for numbers without voxels.

    Args:
        numbers: (slices, height, width): 0 outside, 1 to n inside the lesions.
        step_mm: (3, 2), the world vectors from one column and one row to the next.

    >>> longest_diameters_mm(np.ones((2, 3, 4), int), np.eye(3, 2))
    array([5.])
    """
    count = int(numbers.max(initial=0))
    flat = np.flatnonzero(numbers)
    if not len(flat):
        return np.zeros(count)
    starts, lengths = row_stretches(flat, numbers.shape[2])
    owners = np.ravel(numbers)[flat[starts]].astype(np.int64) - 1
    slices, rows, columns = np.unravel_index(flat[starts], numbers.shape)
    points = bounding(row_ends(owners, slices, rows, columns, lengths))
    return diameters_mm(points, count, step_mm)


def row_stretches(
    flat: NDArray[np.integer], width: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Consecutive voxels of a row: where each such stretch starts in `flat`, and its length.

    Args:
        flat: ascending flat indices, at least one.
        width: of the array.
    """
    breaks = (np.diff(flat) > 1) | (flat[1:] % width == 0)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    return starts, np.diff(np.append(starts, len(flat)))


def row_ends(
    owners: NDArray[np.integer],
    slices: NDArray[np.integer],
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    lengths: NDArray[np.integer],
) -> Points:
    """First and last voxels of stretches, given by their first voxel and length."""
    first = np.stack([owners, slices, rows, columns]).astype(np.int32)
    last = first[:, lengths > 1]
    last[3] += (lengths[lengths > 1] - 1).astype(np.int32)
    return np.concatenate([first, last], 1)


def bounding(points: Points) -> Points:
    """The points that may be on the hull of their lesion in their slice, by lesion and slice."""
    if not points.shape[1]:
        return points
    owners, slices, rows, columns = points.astype(np.int64)
    planes = owners * (int(slices.max()) + 1) + slices
    lines = planes * (int(rows.max()) + 1) + rows
    order = np.argsort(lines, kind="stable")
    starts = np.flatnonzero(np.diff(lines[order], prepend=-1))
    first = np.minimum.reduceat(columns[order], starts)
    last = np.maximum.reduceat(columns[order], starts)
    at = order[starts]  # one point of each row
    left = _convex(planes[at], rows[at], first)
    right = _convex(planes[at], rows[at], -last)
    is_both = np.zeros(len(at), bool)  # rows of one voxel, whose ends are the same point
    is_both[left] = first[left] == last[left]
    right = right[~is_both[right]]
    kept = np.concatenate([left, right])
    by_plane = np.argsort(kept, kind="stable")
    found = points[:, at[kept[by_plane]]]
    found[3] = np.concatenate([first[left], last[right]])[by_plane]
    return found


def _convex(
    planes: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Indices of the points that may be on the left side of the convex hull of their plane.

    Points are sorted by plane and row, one per row. A point to the right of the line between its
    two neighbours, or on it, is not a corner of the hull; all of these are dropped at once, and the
    remaining points are tested again.
    """
    kept = np.arange(len(planes))
    for _ in range(_PASSES):
        plane, row, column = planes[kept], rows[kept], columns[kept]
        right, down = np.diff(column), np.diff(row)
        turn = right[:-1] * down[1:] - right[1:] * down[:-1]  # of the line through three points
        inside = (plane[2:] == plane[:-2]) & (turn >= 0)
        if not inside.any():
            break
        kept = kept[np.concatenate([[True], ~inside, [True]])]
    return kept


def diameters_mm(points: Points, count: int, step_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longest diameter of each of `count` lesions, (count,), mm; 0 for those without points.

    Args:
        points: of `bounding`.
        count: lesions are numbered from 0.
        step_mm: (3, 2), the world vectors from one column and one row to the next.
    """
    longest = np.zeros(count)
    if not points.shape[1]:
        return longest
    begins = np.any(np.diff(points[:2], axis=1, prepend=-1) != 0, axis=0)
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, points.shape[1]))
    for size in np.unique(sizes).tolist():
        alike = starts[sizes == size]
        at_once = max(1, _PAIRS_AT_ONCE // size**2)
        for begin in range(0, len(alike), at_once):
            which = alike[begin : begin + at_once, None] + np.arange(size)
            apart = _longest_mm(points[3][which], points[2][which], step_mm)
            np.maximum.at(longest, points[0][which[:, 0]], apart)
    return longest


def _longest_mm(
    columns: NDArray[np.int32], rows: NDArray[np.int32], step_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Longest distance between outer corners of voxels in one plane: (planes, n) to (planes,)."""
    x, y = (
        (places[:, :, None] - places[:, None, :]).astype(np.float64) for places in (columns, rows)
    )
    (xx, xy), (_, yy) = (step_mm.T @ step_mm).tolist()
    squared = np.zeros(len(columns))
    # Corners are a voxel further apart than first corners, in either direction of each axis. Every
    # pair occurs both ways round, so that two of the four combinations are enough.
    for along, down in ((x + 1, y + 1), (x + 1, y - 1)):
        far = xx * along * along + 2 * xy * along * down + yy * down * down
        np.maximum(squared, far.max((1, 2)), out=squared)
    longest: NDArray[np.float64] = np.sqrt(squared)
    return longest
