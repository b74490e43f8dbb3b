"""The longest axial diameter of lesions, between the outer corners of their voxels.

The diameter of a lesion in a slice spans all its parts there, whether they hang together in that
slice or in another one. Of each part only the voxels count that bound it: those at the ends of its
rows, and of these the ones on the convex hull.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.int32]
"""(4, n) voxels: number of the lesion, slice, row, column."""

_PASSES = 16
"""After so many, a few voxels inside the hull may be left; they cost time, not exactness."""
_PAIRS_AT_ONCE = 2**20


def longest_diameters_mm(
    numbers: NDArray[np.integer], step_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Longest axial diameter of each numbered lesion, (n,), mm; 0 for numbers that do not occur.

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
    starts, lengths = rows_of_one(flat, numbers.shape[2])
    owners = np.ravel(numbers)[flat[starts]].astype(np.int64) - 1
    slices, rows, columns = np.unravel_index(flat[starts], numbers.shape)
    points = bounding(row_ends(owners, slices, rows, columns, lengths))
    return diameters_mm(points, count, step_mm)


def rows_of_one(flat: NDArray[np.integer], width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Voxels side by side in a row: where each such run starts in `flat`, and how long it is.

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
    """First and last voxels of runs, which are given by their first voxel and length."""
    first = np.stack([owners, slices, rows, columns]).astype(np.int32)
    last = first[:, lengths > 1]
    last[3] += (lengths[lengths > 1] - 1).astype(np.int32)
    return np.concatenate([first, last], 1)


def bounding(points: Points) -> Points:
    """Those points that may bound a lesion in its slice, by lesion and slice."""
    if not points.shape[1]:
        return points
    owners, slices, rows, columns = points.astype(np.int64)
    planes = owners * (int(slices.max()) + 1) + slices
    lines = planes * (int(rows.max()) + 1) + rows
    order = np.argsort(lines, kind="stable")
    starts = np.flatnonzero(np.diff(lines[order], prepend=-1))
    first = np.minimum.reduceat(columns[order], starts)
    last = np.maximum.reduceat(columns[order], starts)
    at = order[starts]
    left = _convex(planes[at], rows[at], first)
    right = _convex(planes[at], rows[at], -last)
    single = np.zeros(len(at), bool)
    single[left] = first[left] == last[left]
    right = right[~single[right]]
    kept = np.concatenate([left, right])
    by_plane = np.argsort(kept, kind="stable")
    places = np.concatenate([first[left], last[right]])[by_plane]
    found = points[:, at[kept[by_plane]]]
    found[3] = places
    return found


def _convex(
    planes: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Which points may bound the convex hull of their plane towards low columns.

    They come by plane and row. A point that lies on the line between its two neighbours, or beyond
    it, is inside the hull; so all of these can go at once, and what is left is looked at again.
    """
    kept = np.arange(len(planes))
    for _ in range(_PASSES):
        plane, row, column = planes[kept], rows[kept], columns[kept]
        to_next = (column[1:] - column[:-1], row[1:] - row[:-1])
        across = to_next[0][:-1] * to_next[1][1:] - to_next[0][1:] * to_next[1][:-1]
        inside = (plane[2:] == plane[:-2]) & (across >= 0)
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
